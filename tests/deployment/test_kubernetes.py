"""The manifests: valid, and fitting the service and each other."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import model
from app.main import create_app
from app.settings import Settings
from model.training.config_file import load_config
from tests.conftest import REPOSITORY
from tests.deployment.manifests import (
    VERSIONS,
    Manifest,
    built,
    faults,
    manifests,
    named,
    resource_faults,
)
from tests.deployment.metrics import metric_names

VERSION = version("gpen-portrait")
KUBERNETES = REPOSITORY / "docker" / "kubernetes"


def test_the_manifests_are_valid() -> None:
    assert faults(KUBERNETES) == []


@pytest.mark.parametrize(
    ("file", "good", "broken", "fault"),
    [
        ("base/deployment.yaml", "failureThreshold: 90", "failureTreshold: 90", "failureTreshold"),
        ("base/deployment.yaml", "runAsNonRoot: true", "runAsNonRoot: 1", "runAsNonRoot: 1"),
        ("ingress.yaml", "pathType: Exact", "pathTyp: Exact", "pathTyp"),
        ("base/deployment.yaml", "apps/v1", "apps/v1beta1", "Couldn't find schema"),
        ("base/service.yaml", "port: 80\n", "port: http\n", "spec.ports.0.port"),
        ("base/disruption-budget.yaml", "maxUnavailable", "maxUnavailible", "maxUnavailible"),
        ("base/network-policy.yaml", "[Ingress, Egress]", "Ingress", "spec.policyTypes"),
        ("base/kustomization.yaml", "service.yaml", "services.yaml", "there is no services.yaml"),
        ("base/kustomization.yaml", "  - service.yaml\n", "", "service.yaml is not listed"),
        ("monitoring/autoscaler.yaml", "maxReplicas: 10", "", "'maxReplicas' is a required"),
        ("monitoring/rules.yaml", "expr: up", "expression: up", "expr"),
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


@pytest.fixture(params=["base", "gpu", "prepared"])
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


def test_tags_are_those_of_this_version() -> None:
    for folder in ("base", "gpu"):
        (kustomization,) = manifests(KUBERNETES / folder / "kustomization.yaml")
        tags = [image["newTag"] for image in kustomization["images"]]
        assert tags == [f"{VERSION}-{'gpu' if folder == 'gpu' else 'cpu'}"]
    assert _training_pod()["containers"][0]["image"] == f"gpen-portrait:{VERSION}-training"


def test_what_an_autoscaler_decides_is_left_to_it(resources: list[Manifest]) -> None:
    assert "replicas" not in named(resources, "Deployment")["spec"]


def test_pods_start_beside_a_service_of_the_same_name(resources: list[Manifest]) -> None:
    """For which Kubernetes would set GPEN_PORT."""
    assert named(resources, "Service")["metadata"]["name"] == "gpen"
    assert named(resources, "Deployment")["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_without_its_keys_no_pod_starts(resources: list[Manifest]) -> None:
    (keys,) = (v for v in _container(resources)["env"] if v["name"] == "GPEN_API_KEYS")
    assert "optional" not in keys["valueFrom"]["secretKeyRef"]
    monitor = named(built(KUBERNETES / "monitoring"), "ServiceMonitor")["spec"]
    credentials = monitor["endpoints"][0]["authorization"]["credentials"]
    assert credentials["name"] == keys["valueFrom"]["secretKeyRef"]["name"]


def test_engines_are_prepared_as_they_are_used() -> None:
    found = built(KUBERNETES / "prepared")
    pod = named(found, "Deployment")["spec"]["template"]["spec"]
    (prepare,) = pod["initContainers"]
    container = _container(found)
    assert prepare["command"] == ["gpen", "prepare"]
    # the number of cores belongs to what is measured
    for same in ("image", "resources", "securityContext", "volumeMounts"):
        assert prepare[same] == container[same], same
    assert all(variable in container["env"] for variable in prepare["env"])
    (cache,) = (volume for volume in pod["volumes"] if volume["name"] == "cache")
    claim = named(found, "PersistentVolumeClaim", cache["persistentVolumeClaim"]["claimName"])
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_ingress_lets_in_what_clients_need() -> None:
    (ingress,) = manifests(KUBERNETES / "ingress.yaml")
    settings = Settings()
    prefix = "nginx.ingress.kubernetes.io/"
    given = {
        name.removeprefix(prefix): value
        for name, value in ingress["metadata"]["annotations"].items()
    }
    assert int(given["proxy-body-size"]) == settings.max_body_bytes
    assert int(given["proxy-read-timeout"]) > settings.request_timeout_s
    assert given["proxy-next-upstream"] == "error http_503 non_idempotent"
    assert given["proxy-next-upstream-tries"] == "3"
    (rule,) = ingress["spec"]["rules"]
    exact, prefixes = (
        {path["path"] for path in rule["http"]["paths"] if path["pathType"] == kind}
        for kind in ("Exact", "Prefix")
    )
    paths = {*create_app(settings).openapi()["paths"], "/", "/docs", "/openapi.json", "/page/x.js"}
    outside = {p for p in paths if p not in exact and f"/{p.split('/')[1]}" not in prefixes}
    assert outside == {"/metrics"}


def test_nobody_else_reaches_a_training_job() -> None:
    found = manifests(KUBERNETES / "training-job.yaml")
    policy = named(found, "NetworkPolicy", "gpen-training")["spec"]
    labels = named(found, "Job", "gpen-training")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": labels}}]}]
    beside = [rule for rule in policy["egress"] if "ports" not in rule]
    assert beside == [{"to": [{"podSelector": {"matchLabels": labels}}]}]
    assert {port["port"] for rule in policy["egress"] for port in rule.get("ports", [])} == {53}


def test_interpreters_take_nothing_from_the_working_directory() -> None:
    script = _training_pod()["containers"][0]["args"][0]
    assert re.findall(r"\bpython (-\w+)", script) == ["-P", "-P"]


def test_the_training_job_fits_its_machines() -> None:
    """Its batch divides among the GPUs and leaves each enough faces for D's statistics."""
    pod = _training_pod()
    (container,) = pod["containers"]
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    config = load_config(
        Path(model.__file__).parent / "configs" / given["CONFIG"], given["SETTINGS"].split()
    )
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert config.train.micro_batch(int(given["NODES"]) * gpus) >= 4
    cores = int(container["resources"]["requests"]["cpu"])
    assert cores >= gpus * (1 + config.data.workers)
    (timeout,) = re.findall(r"--shutdown-timeout (\d+)", container["args"][0])
    assert 100 <= int(timeout) < pod["terminationGracePeriodSeconds"]


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
    assert mounts == ["/cache", "/tmp"]


def test_the_autoscaler_reads_metrics_that_there_are() -> None:
    scaler = named(built(KUBERNETES / "monitoring"), "HorizontalPodAutoscaler")["spec"]
    names = {metric["pods"]["metric"]["name"] for metric in scaler["metrics"]}
    assert names == {"gpen_queue_requests"}  # what grows when there is too much to do
    assert names <= metric_names()
    deployment = named(built(KUBERNETES / "base"), "Deployment")
    target = scaler["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == (deployment["apiVersion"], deployment["kind"])
    assert target["name"] == deployment["metadata"]["name"]


def _training_pod() -> dict[str, Any]:
    job = named(manifests(KUBERNETES / "training-job.yaml"), "Job", "gpen-training")
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    return pod


def _container(found: list[Manifest]) -> dict[str, Any]:
    (container,) = named(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    described: dict[str, Any] = container
    return described
