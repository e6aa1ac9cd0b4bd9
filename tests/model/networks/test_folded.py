import pytest
import torch

from model.networks import FullGenerator
from model.networks.folded import FoldedGenerator
from model.networks.layers import ModulatedConv2d, ModulatedPointwise


def shaken(size, **options) -> FullGenerator:
    """Weights away from where they start, which is too simple."""
    torch.manual_seed(size)
    generator = FullGenerator(size, **options).eval().requires_grad_(False)
    for parameter in generator.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return generator


@pytest.fixture(scope="module", params=[8, 64])
def generator(request) -> FullGenerator:
    return shaken(request.param, channel_multiplier=1, narrow=0.125)


def pictures(generator: FullGenerator, batch: int = 3) -> torch.Tensor:
    seeded = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, generator.size, generator.size, generator=seeded) * 2 - 1


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


def test_is_the_same_function(generator):
    x = pictures(generator)
    with torch.inference_mode():
        assert distance(FoldedGenerator(generator)(x), generator(x)) < 1e-5


@pytest.mark.parametrize(("precision", "most"), [(torch.bfloat16, 0.03), (torch.float16, 0.003)])
def test_half_precision_is_near(generator, precision, most):
    x = pictures(generator)
    with torch.inference_mode():
        y = FoldedGenerator(generator, precision)(x)
        assert y.dtype == torch.float32
        assert 0 < distance(y, generator(x)) < most


def test_styles_do_not_overflow_in_float16():
    """Of weights as large as trained ones can be, the squares in the norm would."""
    generator = shaken(16, channel_multiplier=1, narrow=0.125)
    for module in generator.generator.modules():
        if isinstance(module, ModulatedConv2d | ModulatedPointwise):
            module.modulation.weight.mul_(300)
    x = pictures(generator)
    with torch.inference_mode():
        y = FoldedGenerator(generator, torch.float16)(x)
        assert distance(y, generator(x)) < 0.02


def test_does_not_follow_the_generator_it_was_made_of(generator):
    x = pictures(generator)
    original = shaken(generator.size, channel_multiplier=1, narrow=0.125)
    folded = FoldedGenerator(original)
    with torch.inference_mode():
        before = folded(x)
        for parameter in original.parameters():
            parameter.zero_()
        assert torch.equal(folded(x), before)
    assert not list(folded.parameters())


def test_a_face_does_not_depend_on_its_batch_mates(generator):
    x = pictures(generator)
    folded = FoldedGenerator(generator)
    with torch.inference_mode():
        assert distance(folded(x)[1:2], folded(x[1:2])) < 1e-5
