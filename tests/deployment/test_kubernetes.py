"""The manifests: valid, and fitting the service and each other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings
from tests.conftest import REPOSITORY
from tests.deployment.manifests import VERSIONS, Manifest, built, faults, named, resource_faults
from tests.deployment.metrics import metric_names

KUBERNETES = REPOSITORY / "docker" / "kubernetes"


def test_the_manifests_are_valid() -> None:
    assert faults(KUBERNETES) == []


@pytest.mark.parametrize(
    ("file", "good", "broken", "fault"),
    [
        ("base/deployment.yaml", "failureThreshold: 90", "failureTreshold: 90", "failureTreshold"),
        ("base/deployment.yaml", "replicas: 2", "replicas: two", "replicas: 'two'"),
        ("base/deployment.yaml", "apps/v1", "apps/v1beta1", "Couldn't find schema"),
        ("base/service.yaml", "port: 80\n", "port: http\n", "spec.ports.0.port"),
        ("base/disruption-budget.yaml", "maxUnavailable", "maxUnavailible", "maxUnavailible"),
        ("base/network-policy.yaml", "[Ingress, Egress]", "Ingress", "spec.policyTypes"),
        ("base/kustomization.yaml", "service.yaml", "services.yaml", "there is no services.yaml"),
        ("base/kustomization.yaml", "  - service.yaml\n", "", "service.yaml is not listed"),
        ("monitoring/autoscaler.yaml", "maxReplicas: 8", "", "'maxReplicas' is a required"),
        ("monitoring/service-monitor.yaml", "interval: 15s", "interval: often", "interval"),
        ("monitoring/service-monitor.yaml", "scrapeTimeout", "scrapeTimeOut", "unknown fields"),
    ],
)
def test_what_is_broken_is_found(
    file: str, good: str, broken: str, fault: str, tmp_path: Path
) -> None:
    folder = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, folder)
    text = (folder / file).read_text()
    assert good in text
    (folder / file).write_text(text.replace(good, broken))
    found = faults(folder)
    assert found
    assert fault in found[0]


@pytest.fixture(params=["base", "gpu"])
def resources(request: pytest.FixtureRequest) -> list[Manifest]:
    return built(KUBERNETES / request.param)


def test_what_kustomize_builds_is_valid(resources: list[Manifest]) -> None:
    found = [f for r in resources for version in VERSIONS for f in resource_faults(r, version)]
    assert found == []


def test_the_gpu_is_asked_for() -> None:
    gpus = [
        _container(built(KUBERNETES / folder))["resources"]["limits"].get("nvidia.com/gpu")
        for folder in ("base", "gpu")
    ]
    assert gpus == [None, 1]


def test_environment_and_times(resources: list[Manifest]) -> None:
    pod = named(resources, "Deployment")["spec"]["template"]["spec"]
    container = _container(resources)
    given = {
        variable["name"].removeprefix("GPEN_").lower(): variable.get("value")
        for variable in container["env"]
        if variable["name"].startswith("GPEN_")
    }
    assert given.keys() <= Settings.model_fields.keys()
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    ends = before + settings.drain_s + settings.request_timeout_s
    assert pod["terminationGracePeriodSeconds"] > ends


def test_probes_ask_what_the_service_answers(resources: list[Manifest]) -> None:
    container = _container(resources)
    paths = create_app(Settings()).openapi()["paths"]
    ports = {port["name"] for port in container["ports"]}
    asked = {
        kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")
    }
    assert {probe["path"] for probe in asked.values()} <= paths.keys()
    assert {probe["port"] for probe in asked.values()} <= ports
    assert asked["liveness"]["path"] == "/health/live"
    assert asked["readiness"]["path"] == asked["startup"]["path"] == "/health/ready"


def test_everything_selects_the_same_pods(resources: list[Manifest]) -> None:
    template = named(resources, "Deployment")["spec"]["template"]
    labels = template["metadata"]["labels"]
    service = named(resources, "Service")
    assert service["spec"]["selector"] == labels
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    assert named(resources, "Deployment")["spec"]["selector"]["matchLabels"] == labels
    for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        assert named(resources, kind)["spec"][field]["matchLabels"] == labels
    monitor = named(built(KUBERNETES / "monitoring"), "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_the_pod_may_do_next_to_nothing(resources: list[Manifest]) -> None:
    pod = named(resources, "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = _container(resources)["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    mounts = [mount["mountPath"] for mount in _container(resources)["volumeMounts"]]
    assert mounts == ["/cache"]


def test_the_autoscaler_reads_metrics_that_there_are() -> None:
    scaler = named(built(KUBERNETES / "monitoring"), "HorizontalPodAutoscaler")["spec"]
    names = {metric["pods"]["metric"]["name"] for metric in scaler["metrics"]}
    assert "gpen_queue_faces" in names
    assert names <= metric_names()
    deployment = named(built(KUBERNETES / "base"), "Deployment")
    target = scaler["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == (deployment["apiVersion"], deployment["kind"])
    assert target["name"] == deployment["metadata"]["name"]


def _container(found: list[Manifest]) -> dict[str, Any]:
    (container,) = named(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    described: dict[str, Any] = container
    return described
