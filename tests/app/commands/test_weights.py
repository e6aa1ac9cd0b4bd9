import hashlib
import io
import shutil

import pytest
import torch

from app.cli import main
from model.checkpoints.table import BUNDLED_DIR, CHECKPOINTS, STARTER_256, WEIGHTS

REPOSITORY = "iic/cv_gpen_image-portrait-enhancement"


@pytest.fixture
def folders(tmp_path, no_modelscope, monkeypatch):
    """GPEN_WEIGHTS_DIR, empty, and GPEN_CACHE_DIR."""
    weights_dir, cache_dir = tmp_path / "weights", tmp_path / "cache"
    weights_dir.mkdir()
    monkeypatch.setenv("GPEN_WEIGHTS_DIR", str(weights_dir))
    monkeypatch.setenv("GPEN_CACHE_DIR", str(cache_dir))
    return weights_dir, cache_dir


@pytest.fixture
def gpen_weights(folders, capsys):
    """Run ``gpen weights ...``; returns exit status, lines on stdout, lines on stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["weights", *arguments])
        out, err = capsys.readouterr()
        return ended.value.code, out.splitlines(), err.splitlines()

    return run


@pytest.fixture(scope="module")
def published():
    """A file that GPEN-BFR-256 could be: weights of its architecture."""
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.save(CHECKPOINTS[1].architecture.generator().state_dict(), buffer)
    return buffer.getvalue()


def test_list(gpen_weights, folders, no_network):
    (folders[0] / "GPEN-BFR-1024.pth").write_bytes(bytes(2_500_000))
    status, lines, errors = gpen_weights("list")
    assert (status, errors) == (0, [])
    rows = {line.split()[0]: line for line in lines[1:]}
    assert list(rows) == [weights.name for weights in WEIGHTS]
    for weights in WEIGHTS:
        assert rows[weights.name].endswith(weights.licence)
    assert "1024 px  2.5 MB" in rows["gpen-bfr-1024"]
    assert str(folders[0] / "GPEN-BFR-1024.pth") in rows["gpen-bfr-1024"]
    assert "not on this machine" in rows["gpen-bfr-512"]
    assert str(BUNDLED_DIR / STARTER_256.file_name) in rows["gpen-starter-256"]


def test_folders_can_be_flags(gpen_weights, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "GPEN-BFR-256.pth").write_bytes(b"x")
    _, lines, _ = gpen_weights("list", "--weights-dir", str(tmp_path / "other"))
    assert str(tmp_path / "other" / "GPEN-BFR-256.pth") in lines[2]


def test_download(gpen_weights, folders, modelscope):
    detector = io.BytesIO()
    torch.save({"module.weight": torch.zeros(3)}, detector)
    modelscope.files[REPOSITORY, "face_detection/RetinaFace-R50.pth"] = detector.getvalue()
    status, lines, _ = gpen_weights("download", "retinaface-resnet50")
    assert status == 0
    (path,) = folders[1].rglob("RetinaFace-R50.pth")
    assert lines == [str(path)]
    assert path.read_bytes() == detector.getvalue()
    asked = len(modelscope.requests)
    assert gpen_weights("download", "retinaface-resnet50") == (0, [str(path)], [])
    assert len(modelscope.requests) == asked
    assert gpen_weights("verify", "retinaface-resnet50")[0] == 0


def test_download_of_another_network_under_the_name_is_refused(gpen_weights, modelscope, published):
    modelscope.files[REPOSITORY, "pytorch_model.pt"] = published
    status, lines, errors = gpen_weights("download", "gpen-bfr-512")
    assert (status, lines) == (1, [])
    assert errors[-1].startswith("error: ")
    assert "size=256" in errors[-1]


def test_failed_download_is_one_line(gpen_weights, folders, modelscope):
    status, lines, errors = gpen_weights("download", "gpen-bfr-512")
    assert (status, lines) == (1, [])
    assert len(errors) == 1
    assert errors[0].startswith("error: gpen-bfr-512 cannot be downloaded: there is no such")
    assert f"put it into {folders[0]} as GPEN-BFR-512.pth" in errors[0]


@pytest.mark.parametrize("action", ["download", "verify"])
def test_unknown_name_is_one_line(gpen_weights, action):
    status, _, errors = gpen_weights(action, "gpen-512")
    assert status == 1
    assert len(errors) == 1
    assert "gpen-bfr-2048" in errors[0]


def test_verify_checks_all_that_are_here(gpen_weights, folders, published):
    path = folders[0] / "GPEN-BFR-256.pth"
    path.write_bytes(published)
    status, lines, errors = gpen_weights("verify")
    assert (status, errors) == (0, [])
    names = [line.partition(":")[0] for line in lines]
    assert names == ["gpen-starter-256", "gpen-bfr-256", "retinaface-mobilenet0.25"]


def test_verify_goes_on_after_a_fault(gpen_weights, folders, published):
    (folders[0] / "GPEN-BFR-256.pth").write_bytes(published[:-100])
    status, lines, errors = gpen_weights("verify")
    assert status == 1
    assert len(errors) == 1
    assert errors[0].startswith("error: gpen-bfr-256: ")
    assert len(lines) == 2


def test_verify_of_what_is_not_here(gpen_weights):
    assert gpen_weights("verify", "gpen-bfr-2048") == (
        1,
        [],
        ["error: gpen-bfr-2048 is not on this machine"],
    )


def test_verify_compares_with_the_recorded_sum(gpen_weights, folders):
    path = folders[0] / STARTER_256.file_name
    shutil.copy(BUNDLED_DIR / STARTER_256.file_name, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folders[0] / "SHA256SUMS").write_text(f"{digest}  {path.name}\n")
    assert gpen_weights("verify", STARTER_256.name)[0] == 0

    # another name in the metadata: loads as well, but is not the file that was recorded
    path.write_bytes(path.read_bytes().replace(b"gpen-starter-256", b"gpen-starter-257", 1))
    status, lines, errors = gpen_weights("verify", STARTER_256.name)
    assert (status, lines) == (1, [])
    assert "SHA-256" in errors[0]


def test_nonsense_in_the_settings_is_one_line(gpen_weights, monkeypatch, tmp_path):
    monkeypatch.setenv("GPEN_WEIGHTS_DIR", str(tmp_path / "nowhere"))
    message = f"error: weights_dir: the folder {tmp_path / 'nowhere'} does not exist"
    assert gpen_weights("list") == (message, [], [])  # the interpreter prints it, and exits with 1
