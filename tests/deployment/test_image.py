"""What can be said of the image without building it."""

from __future__ import annotations

import http.server
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from tests.conftest import REPOSITORY, Server, free_port
from tests.deployment.programs import run
from tests.modelscope_stand_in import StandIn

DOCKERFILE = REPOSITORY / "docker" / "Dockerfile"


def findings(path: Path) -> str:
    """Of hadolint, a line each."""
    linted = run("hadolint", "--no-color", str(path))
    assert (linted.returncode == 0) is not bool(linted.stdout), linted.stderr
    return linted.stdout


def test_hadolint_finds_nothing() -> None:
    assert findings(DOCKERFILE) == ""


@pytest.mark.parametrize(
    ("good", "broken", "rule"),
    [
        ("FROM python:${PYTHON}\n", "FROM python\n", "DL3006"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ('CMD ["gpen", "serve"]', "CMD gpen serve", "DL3025"),
        ("WORKDIR /opt/gpen", "WORKDIR gpen", "DL3000"),
        ("# hadolint ignore=DL3008\n", "", "DL3008"),
        ("EXPOSE 8000", "EXPOSE 80000", "DL3011"),
    ],
)
def test_hadolint_finds_what_is_broken(good: str, broken: str, rule: str, tmp_path: Path) -> None:
    text = DOCKERFILE.read_text()
    assert good in text
    path = tmp_path / "Dockerfile"
    path.write_text(text.replace(good, broken))
    assert rule in findings(path)


def test_the_base_is_pinned() -> None:
    text = DOCKERFILE.read_text()
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-bookworm$", text, re.MULTILINE)
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases == ["python:${PYTHON}", "build", "python:${PYTHON}"]


def test_no_code_is_loaded_from_what_may_be_written() -> None:
    """/cache may be shared: whoever can write there must not have a say in what replicas run."""
    served = DOCKERFILE.read_text().rpartition("\nFROM ")[2]
    given = dict(re.findall(r"(\w+)=(\S+)", served))
    (folder,) = re.findall(r"^WORKDIR (\S+)$", served, re.MULTILINE)
    assert not folder.startswith(("/cache", "/tmp"))
    assert f"COPY --from=build {folder} {folder}" in served  # root's
    assert (given["PYTHONSAFEPATH"], given["PYTHONNOUSERSITE"]) == ("1", "1")
    kept = {name for name, value in given.items() if value.startswith("/cache")}
    assert kept == {"GPEN_CACHE_DIR"}


def test_what_is_copied_is_there_and_let_through() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    for path in let_through:
        assert (REPOSITORY / path).exists(), path
    copied = [
        source
        for line in DOCKERFILE.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in shlex.split(line)[1:-1]
    ]
    assert set(copied) == let_through


def healthcheck(port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(REPOSITORY / "docker" / "healthcheck.py")],
        env={"GPEN_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_healthcheck_of_a_service_that_is_ready(server: Server) -> None:
    port = urlsplit(server.url).port
    assert port is not None
    checked = healthcheck(port)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_healthcheck_says_what_is_wrong() -> None:
    with _draining() as port:
        checked = healthcheck(port)
        assert (checked.returncode, checked.stderr) == (1, '503 {"status": "draining"}\n')
    checked = healthcheck(free_port())
    assert checked.returncode == 1
    assert "refused" in checked.stderr


@contextmanager
def _draining() -> Iterator[int]:
    """The port of a server that only says so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.path == "/health/ready" else 404)
            self.end_headers()
            self.wfile.write(b'{"status": "draining"}')

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as stand_in:
        thread = threading.Thread(target=stand_in.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield stand_in.server_port
        finally:
            stand_in.shutdown()
            thread.join()


def bake(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """As the Dockerfile does it: beside the sources, with nothing else there."""
    sources = folder.parent / "src"
    if not sources.exists():
        for package in ("app", "model"):
            shutil.copytree(REPOSITORY / package, sources / package)
        shutil.copy(REPOSITORY / "docker" / "bake_weights.py", sources)
    return subprocess.run(
        [sys.executable, "bake_weights.py", str(folder), *names],
        env={**os.environ, "GPEN_CACHE_DIR": str(folder.parent / "cache")},
        cwd=sources,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_weights_are_baked_in_under_the_name_that_the_service_looks_for(
    tmp_path: Path, modelscope: StandIn
) -> None:
    detector = io.BytesIO()
    torch.save({"module.weight": torch.zeros(3)}, detector)
    place = ("iic/cv_gpen_image-portrait-enhancement", "face_detection/RetinaFace-R50.pth")
    modelscope.files[place] = detector.getvalue()
    folder = tmp_path / "weights"
    folder.mkdir()
    baked = bake(folder, "retinaface-resnet50")
    assert baked.returncode == 0, baked.stderr
    assert [path.name for path in folder.iterdir()] == ["RetinaFace-R50.pth"]
    assert (folder / "RetinaFace-R50.pth").read_bytes() == detector.getvalue()

    failed = bake(folder, "gpen-bfr-512")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: gpen-bfr-512 cannot be downloaded")
