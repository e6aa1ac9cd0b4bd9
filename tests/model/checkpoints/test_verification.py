import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.checkpoints.generator import WeightsMetadata, save_generator
from model.checkpoints.table import (
    BUNDLED_DIR,
    DETECTOR_MOBILENET,
    WEIGHTS,
    Checkpoint,
    CheckpointError,
)
from model.checkpoints.verification import SUMS_FILE, recorded_sums, verify
from model.networks import Architecture
from model.state_dicts import WeightsError

TINY = Checkpoint(
    name="gpen-tiny-64",
    file_name="GPEN-TINY-64.pth",
    licence="Apache-2.0",
    commercial=True,
    architecture=Architecture(64, channel_multiplier=2, narrow=1 / 64),
    template="gpen",
)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return TINY.architecture.generator().state_dict()


def save(state: dict[str, Tensor] | dict[str, dict[str, Tensor]], path: Path) -> Path:
    torch.save(state, path)
    return path


def record(path: Path, digest: str | None = None) -> None:
    digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(SUMS_FILE).write_text(f"{digest}  {path.name}\n")


@pytest.mark.parametrize("under", [None, "g_ema"])
def test_good_file_passes(state, tmp_path, under):
    verify(TINY, save({under: state} if under else state, tmp_path / "a.pth"))


def test_missing_key_is_refused(state, tmp_path):
    cut = {key: value for key, value in state.items() if key != "final_linear.0.bias"}
    path = save(cut, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"final_linear\.0\.bias") as caught:
        verify(TINY, path)
    assert "\n" not in str(caught.value)


def test_other_architecture_is_refused(state, tmp_path):
    wider = replace(TINY, architecture=Architecture(64, channel_multiplier=1, narrow=1 / 32))
    with pytest.raises(CheckpointError, match=r"channel_multiplier=2.* not .*channel_multiplier=1"):
        verify(wider, save(state, tmp_path / "a.pth"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(state, tmp_path, value):
    broken = {key: tensor.clone() for key, tensor in state.items()}
    broken["final_linear.0.bias"][3] = value
    with pytest.raises(CheckpointError, match=r"final_linear\.0\.bias"):
        verify(TINY, save(broken, tmp_path / "a.pth"))


@pytest.mark.parametrize(("template", "good"), [("gpen", True), ("ffhq", False)])
def test_template_in_the_metadata_must_be_the_tables(state, tmp_path, template, good):
    path = tmp_path / "a.safetensors"
    metadata = WeightsMetadata(
        name="a", architecture=TINY.architecture, template=template, licence="x", training="none"
    )
    save_generator(state, metadata, path)
    if good:
        verify(TINY, path)
    else:
        with pytest.raises(CheckpointError, match="'ffhq', not 'gpen'"):
            verify(TINY, path)


def test_truncated_file_is_refused_in_one_line(state, tmp_path):
    path = save(state, tmp_path / "a.pth")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        verify(TINY, path)
    assert "\n" not in str(caught.value)


def test_recorded_sum_must_match(state, tmp_path):
    path = save(state, tmp_path / "a.pth")
    record(path)
    verify(TINY, path)
    record(path, "0" * 64)
    with pytest.raises(CheckpointError, match="SHA-256"):
        verify(TINY, path)


def test_bundled_file_must_be_recorded_where_sums_are(state, tmp_path):
    path = save(state, tmp_path / "a.pth")
    (tmp_path / SUMS_FILE).write_text("")
    verify(TINY, path)
    with pytest.raises(CheckpointError, match="does not list"):
        verify(replace(TINY, bundled=True), path)


def test_sums_file_of_another_format_is_refused(tmp_path):
    sums = tmp_path / SUMS_FILE
    sums.write_text(f"{'0' * 64}  a\n{'0' * 63}  b\n")
    with pytest.raises(CheckpointError, match="line 2"):
        recorded_sums(sums)


def test_other_networks_are_only_read(tmp_path):
    verify(DETECTOR_MOBILENET, save({"module.x": torch.zeros(3)}, tmp_path / "a.pth"))
    path = save({"module.x": torch.tensor([1.0, float("nan")])}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"b\.pth: x has values"):
        verify(DETECTOR_MOBILENET, path)


def test_sums_record_exactly_the_bundled_files():
    """After replacing one: cd weights && sha256sum *.safetensors > SHA256SUMS"""
    bundled = {weights.file_name for weights in WEIGHTS if weights.bundled}
    assert set(recorded_sums(BUNDLED_DIR / SUMS_FILE)) == bundled


@pytest.mark.parametrize(
    "weights", [weights for weights in WEIGHTS if weights.bundled], ids=lambda weights: weights.name
)
def test_bundled_weights_are_good(weights):
    verify(weights, BUNDLED_DIR / weights.file_name)


def test_it_says_what_was_checked(state, tmp_path):
    path = save(state, tmp_path / "a.pth")
    unknown, *rest = verify(TINY, path)
    assert unknown == "not whether it is the published file, whose SHA-256 is unknown"
    assert rest == ["architecture (64 px)", "all values are finite"]
    record(path)
    assert verify(TINY, path)[0] == "SHA-256 is that of SHA256SUMS"


def test_the_published_digest_is_compared(state, tmp_path):
    path = save(state, tmp_path / "a.pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = replace(TINY, sha256=digest)
    assert verify(known, path)[0] == "SHA-256 is that of the published file"
    with pytest.raises(CheckpointError, match="but the published file has 0000"):
        verify(replace(TINY, sha256="0" * 64), path)


def test_digests_are_digests():
    known = [weights.sha256 for weights in WEIGHTS if weights.sha256 is not None]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in known)
    assert len(set(known)) == len(known)
