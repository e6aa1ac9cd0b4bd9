import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.checkpoints import table
from model.checkpoints.download import DownloadError, Patience
from model.checkpoints.generator import WeightsMetadata, save_generator
from model.checkpoints.lookup import Resolved, find, find_safe, resolve
from model.checkpoints.table import (
    BFR_256,
    BFR_512,
    BFR_1024,
    BFR_2048,
    DETECTOR_RESNET50,
    STARTER_256,
    CheckpointError,
)
from model.networks import Architecture
from model.state_dicts import WeightsError

TINY = Architecture(64, channel_multiplier=2, narrow=1 / 64)
REPOSITORY = "iic/cv_gpen_image-portrait-enhancement"
SNAPSHOT = "models/iic--cv_gpen_image-portrait-enhancement/snapshots/master"


@pytest.fixture
def folders(tmp_path, no_modelscope, monkeypatch):
    """WEIGHTS_DIR and CACHE_DIR of a machine without weights, not even bundled ones."""
    monkeypatch.setattr(table, "BUNDLED_DIR", tmp_path / "bundled")
    weights_dir = tmp_path / "weights"
    weights_dir.mkdir()
    return weights_dir, tmp_path / "cache"


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


@pytest.mark.parametrize("name", BFR_512.local_names)
def test_found_in_the_weights_folder(folders, no_network, name):
    path = touch(folders[0] / name)
    assert find(BFR_512, *folders) == path
    assert find(BFR_1024, *folders) is None


def test_weights_folder_comes_before_modelscopes_cache_and_that_before_ours(
    folders, no_network, no_modelscope
):
    ours = touch(folders[1] / "modelscope" / SNAPSHOT / "pytorch_model.pt")
    assert find(BFR_512, *folders) == ours
    modelscopes = touch(no_modelscope / SNAPSHOT / "pytorch_model.pt")
    assert find(BFR_512, *folders) == modelscopes
    local = touch(folders[0] / "GPEN-BFR-512.pth")
    assert find(BFR_512, *folders) == local


def test_modelscope_cache_is_honoured(folders, no_network, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "elsewhere"))
    path = touch(tmp_path / "elsewhere" / SNAPSHOT / "face_detection" / "RetinaFace-R50.pth")
    assert find(DETECTOR_RESNET50, *folders) == path


def test_former_owner_is_found(folders, no_network, no_modelscope):
    repository = "cv_gpen_image-portrait-enhancement-hires"
    path = touch(no_modelscope / "hub" / "damo" / repository / "pytorch_model-2048.pt")
    assert find(BFR_2048, *folders) == path
    assert find(BFR_1024, *folders) is None


def test_bundled_weights_are_found_when_the_weights_folder_is_another(folders, no_network):
    assert find(STARTER_256, *folders) is None
    bundled = touch(table.BUNDLED_DIR / STARTER_256.file_name)
    assert find(STARTER_256, *folders) == bundled
    local = touch(folders[0] / STARTER_256.file_name)
    assert find(STARTER_256, *folders) == local


def test_looking_writes_nothing_where_nothing_is(folders, no_network, no_modelscope):
    assert find(BFR_512, *folders) is None
    assert not folders[1].exists()
    assert not no_modelscope.exists()


def test_auto_takes_the_best_that_is_here(folders, no_network, no_modelscope):
    for checkpoint, path in (
        (STARTER_256, folders[0] / STARTER_256.file_name),
        (BFR_256, folders[0] / BFR_256.file_name),
        (BFR_512, no_modelscope / SNAPSHOT / "pytorch_model.pt"),
    ):
        touch(path)
        assert resolve("auto", *folders) == Resolved(
            checkpoint.name, path, checkpoint.licence, "gpen"
        )


def test_auto_never_takes_the_large_ones(folders, no_network):
    touch(folders[0] / BFR_2048.file_name)
    with pytest.raises(CheckpointError, match="none of gpen-bfr-512, gpen-bfr-256, gpen-starter"):
        resolve("auto", *folders)


def test_name_that_is_here_needs_no_network(folders, no_network):
    path = touch(folders[0] / BFR_2048.file_name)
    assert resolve("gpen-bfr-2048", *folders).path == path


def test_name_that_is_not_here_is_downloaded_and_then_found(folders, modelscope):
    modelscope.files[REPOSITORY, "pytorch_model.pt"] = b"the weights"
    resolved = resolve("gpen-bfr-512", *folders)
    assert resolved.path.read_bytes() == b"the weights"
    assert resolved.path.is_relative_to(folders[1])
    asked = len(modelscope.requests)
    assert resolve("auto", *folders) == resolve("gpen-bfr-512", *folders) == resolved
    assert len(modelscope.requests) == asked


def test_name_that_cannot_be_downloaded(folders, modelscope):
    modelscope.status = 503
    with pytest.raises(DownloadError, match="HTTP status 503"):
        resolve("gpen-bfr-512", *folders, patience=Patience(idle_s=1, retries=0))


def test_name_that_is_published_nowhere(folders, no_network):
    with pytest.raises(DownloadError, match=r"as GPEN-BFR-256\.pth"):
        resolve("gpen-bfr-256", *folders)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return TINY.generator().state_dict()


def save(state: dict[str, Tensor], path: Path, template: str) -> Path:
    metadata = WeightsMetadata(
        name="mine", architecture=TINY, template=template, licence="MIT", training="none"
    )
    save_generator(state, metadata, path)
    return path


def test_file_of_ours_says_what_it_is(folders, no_network, state, tmp_path):
    path = save(state, tmp_path / "a.safetensors", "ffhq")
    assert resolve(str(path), *folders) == Resolved("mine", path, "MIT", "ffhq")


def test_file_of_ours_with_an_unknown_template_is_refused(folders, state, tmp_path):
    path = save(state, tmp_path / "a.safetensors", "arcface")
    with pytest.raises(CheckpointError, match="unknown alignment template, 'arcface'"):
        resolve(str(path), *folders)


def test_foreign_file(folders, no_network, state, tmp_path):
    path = tmp_path / "foreign.pth"
    torch.save(state, path)
    assert resolve(str(path), *folders) == Resolved("foreign", path, "unknown", "gpen")


def test_broken_file_of_ours_is_refused(folders, tmp_path):
    path = touch(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        resolve(str(path), *folders)


def test_neither_name_nor_file(folders, no_network):
    with pytest.raises(CheckpointError, match=r"gpen-512 is neither auto, nor a model \(gpen-st"):
        resolve("gpen-512", *folders)


def test_importing_the_hub_imports_nothing_of_modelscope():
    program = "import sys, model.checkpoints.lookup; sys.exit('modelscope_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("exposed", ["file", "folder", "weights folder"])
def test_auto_takes_nothing_that_others_can_write(folders, no_network, caplog, exposed):
    starter = touch(table.BUNDLED_DIR / STARTER_256.file_name)
    path = touch(folders[0] / "iic" / REPOSITORY.split("/")[1] / "pytorch_model.pt")
    assert find_safe(BFR_512, *folders) == path
    place = {"file": path, "folder": path.parent, "weights folder": folders[0]}[exposed]
    place.chmod(place.stat().st_mode | 0o002)
    assert find_safe(BFR_512, *folders) is None
    assert f"other users can write {place}" in caplog.text
    assert resolve("auto", *folders).path == starter
    assert resolve("gpen-bfr-512", *folders).path == path  # it was asked for


def test_another_copy_is_taken_where_the_first_is_exposed(folders, no_network, no_modelscope):
    exposed = touch(folders[0] / "GPEN-BFR-512.pth")
    exposed.chmod(0o666)
    cached = touch(no_modelscope / SNAPSHOT / "pytorch_model.pt")
    assert find(BFR_512, *folders) == exposed
    assert find_safe(BFR_512, *folders) == cached


def test_the_bundled_one_lies_beside_the_code(folders, no_network):
    """A checkout on a file system where everybody may write all is not made worse by it."""
    bundled = touch(table.BUNDLED_DIR / STARTER_256.file_name)
    bundled.chmod(0o666)
    assert resolve("auto", *folders).path == bundled
