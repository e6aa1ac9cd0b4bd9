"""Serving, and the commands of the image, without the packages that the image leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.app.engines.conftest import save_small_generator
from tests.conftest import REPOSITORY, encode_png, serving_afresh

pytestmark = pytest.mark.deployment

LIST = REPOSITORY / "docker" / "not_served.txt"
_WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Missing())
"""


def left_out() -> set[str]:
    lines = LIST.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.fixture(scope="module")
def without() -> str:
    """Python after which nothing of these packages can be imported."""
    names = left_out()
    modules = {
        module
        for module, packages in packages_distributions().items()
        if {package.lower().replace("_", "-") for package in packages} <= names
    }
    assert {"scipy", "modelscope", "llvmlite", "matplotlib", "basicsr"} <= modules
    return _WITHOUT.format(modules=modules)


def test_the_service(without: str, astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    # a cache of ModelScope's that is looked through
    (tmp_path / "cache" / "modelscope" / "models").mkdir(parents=True)
    with serving_afresh(
        tmp_path / "log",
        without,
        GPEN_MODEL="auto",
        GPEN_CACHE_DIR=str(tmp_path / "cache"),
        MODELSCOPE_CACHE=str(tmp_path / "cache" / "modelscope"),
    ) as server:
        answer = httpx2.post(
            f"{server.url}/enhance",
            files={"file": encode_png(astronaut)},
            data={"upscale": "2", "format": "webp"},
            timeout=120,
        )
        assert answer.status_code == 200
        assert answer.headers["x-faces-restored"] == "1"
        for path in ("/docs", "/openapi.json", "/metrics", "/"):
            assert httpx2.get(f"{server.url}{path}").status_code == 200


@pytest.mark.long
def test_the_commands(without: str, astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    weights = save_small_generator(tmp_path / "small.safetensors")
    Image.fromarray(astronaut).save(tmp_path / "photo.png")
    for arguments in (
        f"prepare --model {weights}",
        "weights list",
        "weights verify gpen-starter-256",
        f"enhance --model {weights} -i photo.png -o restored.png",
        "crop -i photo.png -o faces --size 64",
    ):
        code = f"{without}\nimport sys\nsys.argv[1:] = {arguments.split()!r}\n"
        ended = subprocess.run(
            [sys.executable, "-c", f"{code}from app.cli import main\nmain()"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "GPEN_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr


def test_the_networks_that_are_loaded_where_there_are_weights(without: str) -> None:
    faces = "import app.faces.parsing, app.faces.upscale, app.faces.eqface"
    code = f"{faces}, model.networks.super_resolution"
    subprocess.run(
        [sys.executable, "-c", f"{without}\n{code}"], cwd=REPOSITORY, check=True, timeout=100
    )


def test_the_image_leaves_them_out() -> None:
    text = (REPOSITORY / "docker" / "Dockerfile").read_text()
    assert "pip uninstall --yes --requirement not_served.txt" in text
    constraints = (REPOSITORY / "constraints.txt").read_text().lower().replace("_", "-")
    for name in left_out() - {"cython"}:
        assert f"\n{name}==" in constraints, name
