import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from app.engines.engine import psnr
from app.engines.torch_engine import TorchEngine
from model.weights import load_generator

if find_spec("openvino") is None:
    pytest.skip("there is no OpenVINO for this processor", allow_module_level=True)
from app.engines.openvino_engine import OpenVinoEngine, convert, precisions


@pytest.fixture(scope="module")
def converted(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "generator.xml"
    convert(generator, path)
    return path


@pytest.fixture(scope="module")
def reference(generator, crops):
    return TorchEngine(generator, torch.device("cpu"))(crops)


@pytest.mark.parametrize("faces", [1, 2, 5])
def test_equals_pytorch_for_any_number_of_faces(converted, crops, reference, faces):
    restored = OpenVinoEngine(converted, "fp32", threads=1)(crops[:faces])
    assert restored.dtype == np.uint8
    assert restored.shape == (faces, 64, 64, 3)
    assert np.abs(restored.astype(int) - reference[:faces]).max() <= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_of_this_processor(converted, crops, reference, precision):
    if precision not in precisions():
        pytest.skip("this processor has no instructions for it")
    engine = OpenVinoEngine(converted, precision, threads=1)
    assert psnr(engine(crops), reference) > (80 if precision == "fp32" else 30)
    assert (engine.name, engine.precision, engine.size) == ("openvino", precision, 64)


def test_a_result_outlives_the_next_call(converted, crops):
    engine = OpenVinoEngine(converted, "fp32", threads=1)
    first = engine(crops[:2])
    kept = first.copy()
    engine(crops[2:4])
    assert np.array_equal(first, kept)


def test_crops_that_are_views_are_taken(converted, crops, reference):
    """OpenVINO would read the memory behind a view as if it were contiguous."""
    restored = OpenVinoEngine(converted, "fp32", threads=1)(crops[::2])
    assert np.abs(restored.astype(int) - reference[::2]).max() <= 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_output_that_is_not_finite_raises(weights, crops, tmp_path, value):
    generator, _ = load_generator(weights)
    generator.generator.to_rgb1.bias.fill_(value)
    convert(generator, tmp_path / "generator.xml")
    with pytest.raises(FloatingPointError, match="not finite"):
        OpenVinoEngine(tmp_path / "generator.xml", "fp32", threads=1)(crops)


def test_a_file_that_is_none_raises(tmp_path):
    (tmp_path / "generator.xml").write_text("nothing")
    with pytest.raises(RuntimeError):
        OpenVinoEngine(tmp_path / "generator.xml", "fp32", threads=1)


def test_nobody_is_told_of_the_conversion(generator, tmp_path, monkeypatch):
    telemetry = pytest.importorskip("openvino_telemetry")

    def report(*_, **__):
        raise AssertionError("it was about to tell of its use")

    monkeypatch.setattr(telemetry.Telemetry, "__init__", report)
    assert "openvino_telemetry" in sys.modules
    convert(generator, tmp_path / "generator.xml")
    assert (tmp_path / "generator.bin").stat().st_size > 100_000
