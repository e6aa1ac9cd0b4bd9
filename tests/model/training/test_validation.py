from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.checkpoints.table import ARCFACE_IR_SE50, VGG16
from model.data.dataset import evaluation_pairs, to_halves
from model.evaluation.metrics import Distance, score
from model.training import validation
from model.training.config import Config, ValidationConfig
from model.training.records import ValidationRecord
from model.training.schedule import Stage
from model.training.validation import Validation, Validator

CPU = torch.device("cpu")


class Brighter(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1


@pytest.fixture
def pairs(faces) -> np.ndarray:
    return evaluation_pairs(faces)


def configuration(make_config, metric: str) -> Config:
    validation = ValidationConfig.model_validate({"metric": metric})
    config: Config = make_config().model_copy(update={"validation": validation})
    return config


def test_scores_do_not_depend_on_the_chunks(pairs, make_config, monkeypatch):
    whole = Validator(pairs, make_config(), CPU).judge(Brighter())
    monkeypatch.setattr(validation, "_PIXELS", 2 * 64 * 64)
    sizes = []

    class Noting(Brighter):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return super().forward(x)

    chunked = Validator(pairs, make_config(), CPU).judge(Noting())
    assert sizes == [2, 2, 2]
    assert chunked.scores == pytest.approx(whole.scores)
    assert np.array_equal(chunked.samples, whole.samples)


def test_degraded_faces_are_scored_as_they_are(pairs, make_config):
    low, high = to_halves(pairs)
    scores = Validator(pairs, make_config(), CPU).degraded()
    expected = score(low, high)
    assert scores["psnr"] == pytest.approx(expected.psnr)
    assert scores["ssim"] == pytest.approx(expected.ssim)
    assert scores["sharpness"] == pytest.approx(expected.sharpness)


def test_lpips_and_identity_are_measured_where_their_weights_are(
    pairs, make_config, monkeypatch, tmp_path
):
    """Those of WEIGHTS_DIR, without being asked for, and those that the losses name."""
    loaded: list[tuple[Path | None, Path | None]] = []

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=(1, 2, 3))

    def load(lpips: Path | None, identity: Path | None, _: torch.device) -> dict[str, Distance]:
        loaded.append((lpips, identity))
        files = {"lpips": lpips, "identity": identity}
        return {name: distance for name, file in files.items() if file}

    monkeypatch.setenv("GPEN_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("GPEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
    monkeypatch.setattr(validation, "load_distances", load)
    tmp_path.chmod(0o700)
    assert set(Validator(pairs, make_config(), CPU).degraded()) == {"psnr", "ssim", "sharpness"}
    for weights in (VGG16, ARCFACE_IR_SE50):
        (tmp_path / weights.file_name).touch(0o600)
    scores = Validator(pairs, make_config(), CPU).degraded()
    assert scores["lpips"] == scores["identity"] > 0
    given = make_config(losses={"lpips_weights": "mine.pth"})
    Validator(pairs, given, CPU)
    found = tuple(tmp_path / weights.file_name for weights in (VGG16, ARCFACE_IR_SE50))
    assert loaded == [(None, None), found, (Path("mine.pth"), found[1])]

    row = ValidationRecord(step=1, epoch=1, stage=Stage.JOINT, time=0, best=True, **scores)
    assert row.scores() == scores
    assert f"identity {scores['identity']:.4g}" in str(row)


@pytest.mark.parametrize("metric", ["perceptual", "psnr", "ssim"])
def test_the_target_has_more_merit_than_what_is_degraded(pairs, make_config, metric):
    """Whatever the metric, and whether more of it or less is better."""
    config = configuration(make_config, metric)
    perfect = np.stack([pairs[:, 1], pairs[:, 1]], axis=1)
    degraded = Validator(pairs, config, CPU).judge(nn.Identity())
    restored = Validator(perfect, config, CPU).judge(nn.Identity())
    assert restored.merit(metric) > degraded.merit(metric)


def test_less_is_better_of_some():
    judged = Validation({"niqe": 5.0, "psnr": 20.0}, np.zeros((1, 1, 3), np.uint8))
    assert judged.merit("niqe") == -5
    assert judged.merit("psnr") == 20


def test_samples_are_a_few_faces_of_all(pairs, make_config):
    many = np.concatenate([pairs] * 5)  # 30
    samples = Validator(many, make_config(), CPU).judge(nn.Identity()).samples
    assert samples.shape == (10 * 64, 3 * 64, 3)
