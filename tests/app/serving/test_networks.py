import shutil

import pytest
import torch
from torch import nn

from app.serving.networks import find_detector
from app.settings import Settings
from model.checkpoints.table import DETECTOR_MOBILENET, DETECTOR_RESNET50
from model.networks.retinaface import InBfloat16
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")


@pytest.mark.parametrize("is_fast", [True, False])
@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32", "fp16"])
def test_the_detector_uses_bfloat16_if_it_is_fast_and_allowed(monkeypatch, precision, is_fast):
    monkeypatch.setattr("app.serving.networks._has_fast_bfloat16", lambda _: is_fast)
    detector = find_detector(Settings(precision=precision), CPU, commercial=True)
    assert isinstance(detector, InBfloat16) == (is_fast and precision in ("auto", "bf16"))


def test_an_academic_detector_is_for_academic_generators(tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    weights.mkdir()
    shutil.copy(REPOSITORY / "weights" / DETECTOR_MOBILENET.file_name, weights)
    shutil.copy(weights / DETECTOR_MOBILENET.file_name, weights / DETECTOR_RESNET50.file_name)
    loaded = []

    def note(path):
        loaded.append(path.name)
        return nn.ReLU()

    monkeypatch.setattr("app.serving.networks.load_detector", note)
    settings = Settings(weights_dir=weights, cache_dir=tmp_path / "cache")
    for commercial in (True, False):
        find_detector(settings, CPU, commercial=commercial)
    assert loaded == [DETECTOR_MOBILENET.file_name, DETECTOR_RESNET50.file_name]
