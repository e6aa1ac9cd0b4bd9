"""docker-compose.yml, as Compose itself reads it, and as it fits the service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests.conftest import REPOSITORY
from tests.deployment.balanced import CONFIGURATION
from tests.deployment.programs import run
from tests.documents.pages import code

COMPOSE = REPOSITORY / "docker-compose.yml"
PROFILES = {
    "cpu": {"gpen-cpu", "nginx"},
    "gpu": {"gpen-gpu", "nginx"},
    "monitoring": {"prometheus", "grafana"},
}


def config(*paths: Path, profiles: Iterable[str]) -> tuple[dict[str, Any] | None, str]:
    """What Compose makes of files, each over the one before; None if nothing; and what it says."""
    arguments = [f"--file={path}" for path in paths] + [f"--profile={name}" for name in profiles]
    folder = f"--project-directory={REPOSITORY}"
    read = run("docker-compose", folder, *arguments, "config", "--format", "json")
    return (json.loads(read.stdout) if read.returncode == 0 else None), read.stderr


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    read, said = config(COMPOSE, profiles=PROFILES)
    assert read is not None, said
    found: dict[str, Any] = read["services"]
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_reads_every_profile(profile: str) -> None:
    read, said = config(COMPOSE, profiles=[profile])
    assert said == ""
    assert read is not None
    assert read["services"].keys() == PROFILES[profile]


@pytest.mark.parametrize(
    ("good", "broken", "fault"),
    [
        ("read_only: true\n", "read_only: perhaps\n", "read_only"),
        ("stop_grace_period: 50s", "stop_grace_period: 50 parsecs", "stop_grace_period"),
        ("replicas: ${", "replica: ${", "replica"),
        ("capabilities: [gpu]", "count: [gpu]", "count"),
        ("networks: [inside]", "networks: [insyde]", "insyde"),
        ("- prometheus:/prometheus", "- prometheos:/prometheus", "prometheos"),
        ("depends_on: [prometheus]", "depends_on: [postgres]", "postgres"),
    ],
)
def test_compose_refuses_what_is_broken(good: str, broken: str, fault: str, tmp_path: Path) -> None:
    text = COMPOSE.read_text()
    assert good in text
    path = tmp_path / "docker-compose.yml"
    path.write_text(text.replace(good, broken))
    read, said = config(path, profiles=PROFILES)
    assert read is None
    assert fault in said


def test_the_number_of_replicas_is_a_variable(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert services["gpen-cpu"]["deploy"]["replicas"] == 2
    monkeypatch.setenv("GPEN_REPLICAS", "5")
    read, _ = config(COMPOSE, profiles=["cpu"])
    assert read is not None
    assert read["services"]["gpen-cpu"]["deploy"]["replicas"] == 5


@pytest.mark.parametrize("name", ["gpen-cpu", "gpen-gpu"])
def test_replicas(services: dict[str, Any], name: str) -> None:
    service = services[name]
    given = {
        key.removeprefix("GPEN_").lower(): value
        for key, value in service["environment"].items()
        if key.startswith("GPEN_")
    }
    assert given.keys() <= Settings.model_fields.keys()
    assert given.pop("api_keys") is None  # set only where the caller's own variable is
    settings = Settings(**given)
    assert _seconds(service["stop_grace_period"]) >= settings.drain_s + settings.request_timeout_s
    assert "gpen" in service["networks"]["inside"]["aliases"]
    assert [mount["target"] for mount in service["volumes"]] == ["/cache"]


def test_only_the_gpu_profile_reserves_one(services: dict[str, Any]) -> None:
    (device,) = services["gpen-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "reservations" not in services["gpen-cpu"]["deploy"]["resources"]


def test_a_second_gpu_is_a_second_service(tmp_path: Path) -> None:
    """As ``docs/deployment.md`` has it."""
    path = tmp_path / "gpus.yml"
    (block,) = code("docs/deployment.md", "Docker Compose", "yaml")
    path.write_text(block.text.replace("docker-compose.yml", str(COMPOSE)))
    read, said = config(COMPOSE, path, profiles=["gpu"])
    assert read is not None, said
    gpus = {
        name: service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name, service in read["services"].items()
        if name != "nginx"
    }
    assert gpus == {"gpen-gpu": ["0"], "gpen-gpu-1": ["1"]}


def test_every_service_is_bounded_hardened_and_watched(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert service["healthcheck"]["test"], name
        tag = service["image"].partition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+\.\d+(-alpine|-cpu|-gpu)?", tag), name
        if name.startswith("gpen"):
            assert tag.startswith(f"{version('gpen-portrait')}-")


def test_the_large_uploads_that_nginx_lets_in_have_room(services: dict[str, Any]) -> None:
    text = CONFIGURATION.read_text()
    (bodies,) = re.findall(r"limit_conn large_bodies (\d+);", text)
    (largest,) = re.findall(r"client_max_body_size (\d+);", text)
    (temporary,) = (t for t in services["nginx"]["tmpfs"] if t.startswith("/tmp:"))
    room = int(re.fullmatch(r"/tmp:size=(\d+)m", temporary)[1]) * 2**20  # type: ignore[index]
    assert int(bodies) * int(largest) <= room
    memory = int(services["nginx"]["deploy"]["resources"]["limits"]["memory"])
    assert memory >= room + 512 * 2**20  # it lies in memory


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    mounts = [mount for s in services.values() for mount in s.get("volumes", [])]
    sources = [Path(mount["source"]) for mount in mounts if mount["type"] == "bind"]
    assert len(sources) == 4
    for source in sources:
        assert source.exists(), source


def _seconds(duration: str) -> int:
    """Of Go's notation: 1m30s."""
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found is not None
    return 60 * int(found[1] or 0) + int(found[2] or 0)
