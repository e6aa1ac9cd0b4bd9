"""The package installed from a wheel, away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.deployment, pytest.mark.long, pytest.mark.timeout(900)]

_SOURCES = ("app", "model", "weights")
_PAGE = """
from importlib.resources import files
from fastapi.testclient import TestClient
import app.main
from app.engines.samples import PHOTO
from app.http.paths import PAGE_FILES
client = TestClient(app.main.create_app(app.main.read_settings()))
for path in ("/", PAGE_FILES + "main.js", PAGE_FILES + "sample.jpg"):
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    assert answer.content
assert PHOTO.is_file(), PHOTO
print(app.main.__file__)
print(*sorted(file.name for file in files("model").joinpath("configs").iterdir()))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed into, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    source, target = folder / "source", folder / "target"
    for name in _SOURCES:
        shutil.copytree(
            REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *options, "--no-build-isolation", "-w", folder, source], check=True
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *options, "--target", target, wheel], check=True)
    shutil.rmtree(source)
    return target


def run(installed: Path, folder: Path, *arguments: str | Path) -> str:
    """Run Python in a folder, with the installed package in front; returns its output."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GPEN_")
    }
    environment |= {"PYTHONPATH": str(installed), "GPEN_CACHE_DIR": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_photo_is_restored_by_the_bundled_weights(
    installed: Path, tmp_path: Path, astronaut: NDArray[np.uint8]
) -> None:
    Image.fromarray(astronaut).save(tmp_path / "photo.png")
    command = ["-m", "app.cli", "enhance", "-i", "photo.png", "-o", "restored.png"]
    assert "1 faces restored" in run(installed, tmp_path, *command)
    restored = np.asarray(Image.open(tmp_path / "restored.png"))
    assert restored.shape == astronaut.shape
    assert not np.array_equal(restored, astronaut)
    listing = run(installed, tmp_path, "-m", "app.cli", "weights", "list")
    assert str(installed / "weights" / "gpen-starter-256.safetensors") in listing


def test_page_and_configurations_are_found(installed: Path, tmp_path: Path) -> None:
    main, configurations = run(installed, tmp_path, "-c", _PAGE).splitlines()
    assert Path(main).is_relative_to(installed)
    expected = sorted(path.name for path in (REPOSITORY / "model" / "configs").iterdir())
    assert configurations.split() == expected
