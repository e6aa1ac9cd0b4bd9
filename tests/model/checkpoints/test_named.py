"""Names of weights, where a file could be given."""

from pathlib import Path

import pytest

from app.settings import Settings
from model.checkpoints.named import named, optional_file, weights_file
from model.checkpoints.table import (
    ARCFACE_IR_SE50,
    BFR_512,
    BUNDLED_DIR,
    STARTER_256,
    VGG16,
    CheckpointError,
    WeightsFile,
)


@pytest.fixture
def weights_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_modelscope: Path) -> Path:
    monkeypatch.setenv("GPEN_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("GPEN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_a_name_is_its_file_once_that_is_here(weights_dir):
    name = Path(BFR_512.name)
    assert named(name) is BFR_512
    with pytest.raises(CheckpointError, match="`gpen weights download gpen-bfr-512`"):
        weights_file(name)
    (weights_dir / BFR_512.file_name).touch()
    assert weights_file(name) == weights_dir / BFR_512.file_name
    assert weights_file(Path(STARTER_256.name)) == BUNDLED_DIR / STARTER_256.file_name


def test_a_path_is_left_as_it_is(weights_dir, monkeypatch):
    assert weights_file(weights_dir / "G.pth") == weights_dir / "G.pth"
    monkeypatch.chdir(weights_dir)
    Path(BFR_512.name).touch()  # a file of that name in the working folder is what is meant
    assert weights_file(Path(BFR_512.name)) == Path(BFR_512.name)
    assert named(Path(BFR_512.name)) is None


def test_what_nobody_asked_for_is_taken_if_it_is_here(weights_dir):
    weights_dir.chmod(0o700)
    assert optional_file(ARCFACE_IR_SE50) is None
    for weights in (ARCFACE_IR_SE50, VGG16):
        path = weights_dir / weights.file_name
        path.touch(0o600)
        assert optional_file(weights) == path
    path.chmod(0o666)
    assert optional_file(VGG16) is None


def test_the_folders_are_those_of_the_service(monkeypatch):
    seen: list[tuple[Path, Path]] = []

    def note(_: WeightsFile, weights_dir: Path, cache_dir: Path) -> Path:
        seen.append((weights_dir, cache_dir))
        return Path("file")

    monkeypatch.setattr("model.checkpoints.named.find", note)
    monkeypatch.delenv("GPEN_WEIGHTS_DIR", raising=False)
    monkeypatch.delenv("GPEN_CACHE_DIR", raising=False)
    weights_file(Path(BFR_512.name))
    settings = Settings()
    assert seen == [(settings.weights_dir, settings.cache_dir)]
