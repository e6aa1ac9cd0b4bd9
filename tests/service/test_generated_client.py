"""Clients that openapi-python-client makes of the description, against the running service.

One operation answers with a picture or with JSON.  A generator takes the first media type that it
knows: JSON as it comes; the picture when it is told what pictures are.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.main import create_app
from app.settings import Settings
from tests.client import TIMEOUT
from tests.conftest import Server

KEY = "a key of sixteen or more"
PICTURES = {f"image/{name}": "application/octet-stream" for name in ("jpeg", "png", "webp")}


def generate(folder: Path, name: str, **config: Any) -> None:
    """A package of this name in a folder.  A warning of the generator is an error."""
    description = create_app(Settings()).openapi()
    (folder / "openapi.json").write_text(json.dumps(description))
    (folder / "config.json").write_text(json.dumps({"post_hooks": [], **config}))
    command = [
        *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
        *("--path", "openapi.json", "--config", "config.json"),
        *("--meta", "none", "--output-path", name),
    ]
    subprocess.run(command, check=True, cwd=folder, timeout=120)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients")
    generate(folder, "json_client")
    generate(folder, "picture_client", content_type_overrides=PICTURES)
    return folder


@pytest.fixture
def load(clients: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(clients)
    return importlib.import_module


def form(load: Any, package: str, data: bytes, **options: Any) -> Any:
    models: ModuleType = load(f"{package}.models")
    file = load(f"{package}.types").File(BytesIO(data), file_name="photo.png")
    return models.EnhanceForm(file=file, **options)


def call(load: Any, package: str, server: Server, body: Any, **arguments: Any) -> Any:
    accept = {"json_client": "application/json", "picture_client": "image/*"}[package]
    client = load(package).Client(
        base_url=server.url, headers={"Accept": accept}, timeout=httpx.Timeout(TIMEOUT)
    )
    with client:
        enhance = load(f"{package}.api.photos.enhance")
        return enhance.sync_detailed(client=client, body=body, **arguments)


def test_a_photo_goes_up_and_a_typed_result_comes_down(
    load: Any, server: Server, astronaut: NDArray[np.uint8], astronaut_png: bytes
) -> None:
    models = load("json_client.models")
    options = {
        "upscale": models.EnhanceFormUpscale.VALUE_2,
        "format_": models.EnhanceFormFormat.JPEG,
        "quality": 90,
        "require_face": True,
    }
    body = form(load, "json_client", astronaut_png, **options)
    answer = call(load, "json_client", server, body, x_request_id="generated-1")
    result = answer.parsed
    assert isinstance(result, models.EnhancedModel)
    assert (result.width, result.height, result.media_type) == (1024, 1024, "image/jpeg")
    assert Image.open(BytesIO(b64decode(result.image))).size == (1024, 1024)
    (face,) = result.faces
    assert isinstance(face, models.FaceModel)
    assert face.restored
    assert face.reason is None
    assert len(face.box) == 4
    assert len(face.landmarks) == 5
    assert result.timings_ms.restore > 0
    assert answer.headers["X-Request-ID"] == "generated-1"
    assert answer.headers["X-Faces-Restored"] == "1"


def test_the_same_operation_as_a_picture(load: Any, server: Server, astronaut_png: bytes) -> None:
    answer = call(
        load, "picture_client", server, form(load, "picture_client", astronaut_png, strength=0.5)
    )
    assert isinstance(answer.parsed, load("picture_client.types").File)
    assert Image.open(answer.parsed.payload).size == (512, 512)
    assert answer.headers["X-Faces-Detected"] == "1"


@pytest.mark.parametrize("package", ["json_client", "picture_client"])
@pytest.mark.parametrize(
    ("data", "options", "status", "kind"),
    [
        (b"no picture", {}, 415, "unsupported-picture"),
        (b"", {}, 422, "broken-picture"),
        (b"no picture", {"strength": 2}, 422, "invalid-request"),
    ],
)
def test_errors_are_typed(
    load: Any,
    server: Server,
    package: str,
    data: bytes,
    options: dict[str, Any],
    status: int,
    kind: str,
) -> None:
    problem = call(load, package, server, form(load, package, data, **options)).parsed
    assert isinstance(problem, load(f"{package}.models").Problem)
    assert (problem.status, problem.type_) == (status, f"urn:gpen:problem:{kind}")
    assert problem.detail


def test_health_is_typed(load: Any, server: Server) -> None:
    client = load("json_client").Client(base_url=server.url)
    with client:
        health = load("json_client.api.operations.health").sync(client=client)
    assert health.status == "ok"
    assert health.model == "gpen-starter-256"
    assert health.queue.limit > 0


@pytest.mark.parametrize(("key", "status"), [(KEY, 200), ("another", 401)])
def test_keys_go_as_bearer(load: Any, key: str, status: int) -> None:
    client = load("json_client").AuthenticatedClient(
        base_url="http://here",
        token=key,
        httpx_args={"transport": httpx.ASGITransport(create_app(Settings(api_keys=KEY)))},
    )
    metrics = load("json_client.api.operations.metrics")
    answer = asyncio.run(metrics.asyncio_detailed(client=client))
    assert answer.status_code == status
    if status == 401:
        assert answer.parsed.type_ == "urn:gpen:problem:unauthorized"
