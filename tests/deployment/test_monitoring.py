"""Dashboard and alerts ask for what the service reports."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest
import yaml

from app import errors
from app.errors import ServiceError
from tests.conftest import REPOSITORY
from tests.deployment.metrics import metric_names, used_names

DOCKER = REPOSITORY / "docker"


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DOCKER / "grafana" / "dashboards" / "gpen.json").read_text())
    return read


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_the_dashboard_shows_metrics_that_there_are(dashboard: dict[str, Any]) -> None:
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = set().union(*map(used_names, expressions))
    assert used <= metric_names()
    assert families(used) == families(metric_names())


def families(names: set[str]) -> set[str]:
    """The service's own, histograms by their names."""
    ours = (name for name in names if name.startswith("gpen_"))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_datasource_is_the_one_that_is_provided(dashboard: dict[str, Any]) -> None:
    text = (DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    (provided,) = yaml.safe_load(text)["datasources"]
    for panel in dashboard["panels"]:
        assert panel["datasource"] == {"type": provided["type"], "uid": provided["uid"]}


def test_the_operators_rules_are_the_alerts(alerts: list[dict[str, Any]]) -> None:
    path = DOCKER / "kubernetes" / "monitoring" / "rules.yaml"
    (group,) = yaml.safe_load(path.read_text())["spec"]["groups"]
    assert group == {"name": "gpen", "rules": alerts}


def test_alerts_ask_for_metrics_and_problems_that_there_are(alerts: list[dict[str, Any]]) -> None:
    assert len(alerts) >= 5
    slugs = {
        error.slug
        for _, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, ServiceError)
    }
    for alert in alerts:
        assert used_names(alert["expr"]) <= metric_names(), alert["alert"]
        for types in re.findall(r'type=~?"([^"]+)"', alert["expr"]):
            assert set(types.split("|")) <= slugs, alert["alert"]
