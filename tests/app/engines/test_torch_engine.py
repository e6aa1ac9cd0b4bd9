import cv2
import numpy as np
import pytest
import torch

from app.engines.torch_engine import TorchEngine
from model.networks import FullGenerator

CPU = torch.device("cpu")


def reference(generator: FullGenerator, crops: np.ndarray) -> np.ndarray:
    """By the network that is trained, as its users would call it."""
    with torch.inference_mode():
        y = generator(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1)
    levels: np.ndarray = (y.clamp(-1, 1) * 127.5 + 127.5).round().byte().numpy()
    return levels.transpose(0, 2, 3, 1)


def test_is_the_networks_function_on_levels(generator, crops):
    engine = TorchEngine(generator, CPU)
    restored = engine(crops)
    assert restored.dtype == np.uint8
    assert restored.flags["C_CONTIGUOUS"]
    assert np.abs(restored.astype(int) - reference(generator, crops)).max() <= 1
    assert (engine.name, engine.precision) == ("torch", "fp32")
    assert (engine.device, engine.size) == ("cpu", 64)


def test_bfloat16_is_near(generator, crops):
    engine = TorchEngine(generator, CPU, "bf16")
    assert 30 < cv2.PSNR(engine(crops), reference(generator, crops)) < 90


def test_output_that_is_not_finite_raises(generator, crops):
    engine = TorchEngine(generator, CPU)
    engine._network.generator.to_z.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="not finite"):
        engine(crops)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu(generator, crops, precision):
    engine = TorchEngine(generator, torch.device("cuda"), precision)
    assert cv2.PSNR(engine(crops), reference(generator, crops)) > 30
