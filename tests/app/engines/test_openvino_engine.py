import os
import subprocess
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch

from app.engines.torch_engine import TorchEngine
from model.checkpoints.generator import load_generator

if find_spec("openvino") is None:
    pytest.skip("there is no OpenVINO for this processor", allow_module_level=True)
from app.engines.openvino_engine import OpenVinoEngine, convert, precisions
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def converted(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "generator.xml"
    convert(generator, path)
    return path


@pytest.fixture(scope="module")
def reference(generator, crops):
    return TorchEngine(generator, torch.device("cpu"))(crops)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("faces", [1, 2, 5])
def test_equals_pytorch_for_any_number_of_faces(converted, crops, reference, faces, threads):
    restored = OpenVinoEngine(converted, "fp32", threads)(crops[:faces])
    assert restored.dtype == np.uint8
    assert restored.shape == (faces, 64, 64, 3)
    assert np.abs(restored.astype(int) - reference[:faces]).max() <= 1


@pytest.mark.parametrize(
    ("threads", "batch"), [(1, 1), (2, 2), (3, 3), (4, 4), (6, 3), (8, 4), (16, 4)]
)
def test_each_face_has_threads_of_its_own(converted, threads, batch):
    assert OpenVinoEngine(converted, "fp32", threads).sizes[-1] == batch


def test_faces_come_back_in_their_order_and_alone(converted, crops):
    """In a batch, a face is restored as it is alone."""
    engine = OpenVinoEngine(converted, "fp32", threads=2)
    together = engine(crops)
    for face, crop in zip(together, crops, strict=True):
        assert np.abs(engine(crop[None])[0].astype(int) - face).max() <= 1


def test_one_face_that_fails_leaves_the_engine_as_it_was(converted, crops, monkeypatch):
    engine = OpenVinoEngine(converted, "fp32", threads=2)
    expected = engine(crops)

    class Failing:
        def start_async(self, *_: object, **__: object) -> None:
            raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_several", [engine._several[0], Failing()])
        with pytest.raises(RuntimeError, match="out of memory"):
            engine(crops)
    assert np.array_equal(engine(crops), expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_of_this_processor(converted, crops, reference, precision):
    if precision not in precisions():
        pytest.skip("this processor has no instructions for it")
    engine = OpenVinoEngine(converted, precision, threads=1)
    assert cv2.PSNR(engine(crops), reference) > (80 if precision == "fp32" else 30)
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


def run(script: str, *arguments: object) -> str:
    """What a Python process of its own prints."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "CI": "true"}  # nothing is sent, then, by OpenVINO as it is
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


def test_a_signal_does_no_harm_when_engines_have_gone(converted):
    """Each OpenVINO of its own would leave the thread with a freed stack for signals."""
    script = """
import signal, sys
from pathlib import Path
from app.engines.openvino_engine import OpenVinoEngine, precisions

signal.signal(signal.SIGTERM, lambda *_: print("the handler ran"))
first = OpenVinoEngine(Path(sys.argv[1]), "fp32", 1)
second = OpenVinoEngine(Path(sys.argv[1]), "fp32", 1)
precisions()
del first
del second
signal.raise_signal(signal.SIGTERM)
"""
    assert run(script, converted) == "the handler ran\n"


def test_nobody_is_told_of_its_use(weights, tmp_path):
    """Else each import of OpenVINO, and each conversion, would be reported."""
    script = """
import sys
from pathlib import Path
TELL = "openvino_telemetry.utils.sender"
if sys.argv[3] == "ours":
    from app.engines import openvino_engine
    from model.checkpoints.generator import load_generator
    openvino_engine.convert(load_generator(Path(sys.argv[1]))[0], Path(sys.argv[2]))
else:
    import openvino
print(TELL in sys.modules)
"""
    assert run(script, weights, tmp_path / "generator.xml", "theirs") == "True\n"
    assert run(script, weights, tmp_path / "generator.xml", "ours") == "False\n"
    assert (tmp_path / "generator.bin").stat().st_size > 100_000
