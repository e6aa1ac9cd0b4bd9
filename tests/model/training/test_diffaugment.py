import pytest
import torch

from model.training import diffaugment
from model.training.diffaugment import Variation

CPU = torch.device("cpu")


def variation(n: int = 1, **changes: torch.Tensor) -> Variation:
    """One that changes nothing but ``changes``: the hole is far outside."""
    neutral = {
        "brightness": torch.zeros(n, 1, 1, 1),
        "saturation": torch.ones(n, 1, 1, 1),
        "contrast": torch.ones(n, 1, 1, 1),
        "shift": torch.zeros(n, 2),
        "cutout": torch.full((n, 2), 9.0),
    }
    return Variation(**(neutral | changes))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_what_changes_nothing(x):
    torch.testing.assert_close(diffaugment.apply(x, variation()), x)


def test_draws_are_in_the_published_ranges():
    drawn = diffaugment.draw(4000, CPU, seeded(0))
    ranges = [
        (drawn.brightness, -0.5, 0.5),
        (drawn.saturation, 0, 2),
        (drawn.contrast, 0.5, 1.5),
        (drawn.shift, -1 / 8, 1 / 8),
        (drawn.cutout, 0, 1),
    ]
    for values, low, high in ranges:
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high


def test_draws_follow_the_seed():
    rng = seeded(3)
    first, second = diffaugment.draw(4, CPU, rng), diffaugment.draw(4, CPU, rng)
    assert torch.equal(first.shift, diffaugment.draw(4, CPU, seeded(3)).shift)
    assert not torch.equal(first.shift, second.shift)


def test_brightness_saturation_contrast(x):
    brighter = diffaugment.apply(x, variation(brightness=torch.full((1, 1, 1, 1), 0.25)))
    torch.testing.assert_close(brighter, x + 0.25)
    grey = diffaugment.apply(x, variation(saturation=torch.zeros(1, 1, 1, 1)))
    torch.testing.assert_close(grey, x.mean(dim=1, keepdim=True).expand_as(x))
    flat = diffaugment.apply(x, variation(contrast=torch.full((1, 1, 1, 1), 0.5)))
    torch.testing.assert_close(flat - x.mean(), (x - x.mean()) / 2)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("pixels", [(3, 0), (-4, 2), (0, -1)])
def test_shifts_are_whole_pixels_and_bring_in_grey(x, pixels, autocast):
    """Under autocast too, where coordinates must not be rounded to bfloat16."""
    x = torch.nn.functional.interpolate(x, 256)
    right, down = pixels
    shift = torch.tensor([[right, down]]) / 256
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        shifted = diffaugment.apply(x, variation(shift=shift))
    expected = x.roll((-down, -right), dims=(2, 3))
    position = torch.arange(256)
    column, row = position + right, position + down  # where a pixel comes from
    outside = ~((column >= 0) & (column < 256))[None, :] | ~((row >= 0) & (row < 256))[:, None]
    expected[:, :, outside] = 0
    torch.testing.assert_close(shifted, expected)


def test_cutout_is_a_square_of_half_the_size():
    cut = diffaugment.apply(
        torch.ones(2, 3, 32, 32), variation(2, cutout=torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    )
    hole = cut[0, 0] == 0
    assert hole.sum() == 16 * 16
    assert hole[8:24, 8:24].all()
    assert (cut[1, 0] == 0).sum() == 8 * 8  # the rest of it is outside
    assert (cut[1, 0, :8, 24:] == 0).all()


def test_both_halves_are_varied_alike():
    high = torch.rand(4, 3, 32, 32)
    drawn = diffaugment.draw(4, CPU, seeded(0))
    assert torch.equal(diffaugment.apply(high, drawn), diffaugment.apply(high.clone(), drawn))
    # and samples differently from each other
    same = high[:1].expand(4, -1, -1, -1)
    varied = diffaugment.apply(same, drawn)
    assert all(not torch.equal(varied[0], varied[i]) for i in (1, 2, 3))


def test_it_is_differentiable_twice():
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    drawn = diffaugment.draw(2, CPU, seeded(0))
    drawn = Variation(*(value.double() for value in vars(drawn).values()))
    assert torch.autograd.gradcheck(lambda y: diffaugment.apply(y, drawn), (x,))
    assert torch.autograd.gradgradcheck(lambda y: diffaugment.apply(y, drawn) ** 2, (x,))
    (gradient,) = torch.autograd.grad(diffaugment.apply(x, drawn).sum(), x)
    assert (gradient != 0).any()
