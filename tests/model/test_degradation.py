from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data

from model.dataset import to_float
from model.degradation import RECIPES, FloatImage, Recipe, degrade

NEUTRAL = Recipe(
    kernel_size=21,
    anisotropic_probability=0.5,
    blur=(0.01, 0.01),
    shrink=(1, 1),
    noise=(0, 0),
    jpeg=(100, 100),
)


@pytest.fixture(scope="module")
def image() -> FloatImage:
    """A face: (96, 96, 3) RGB in [0, 1]."""
    crop = skimage.data.astronaut()[0:200, 120:320]
    resized = cv2.resize(crop, (96, 96), interpolation=cv2.INTER_AREA)
    return to_float(resized.astype(np.uint8))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def psnr(a: FloatImage, b: FloatImage) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


class Spy:
    """Calls OpenCV as usual, and remembers with what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.calls: list[tuple[Any, ...]] = []
        real = getattr(cv2, name)

        def call(*args, **kwargs):
            self.calls.append(args)
            return real(*args, **kwargs)

        monkeypatch.setattr(cv2, name, call)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_seed_gives_a_picture(image, recipe):
    first = degrade(image, recipe, rng(5))
    assert np.array_equal(first, degrade(image.copy(), recipe, rng(5)))
    assert not np.array_equal(first, degrade(image, recipe, rng(6)))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_shape_type_and_levels(recipe):
    image = rng().random((48, 40, 3), dtype=np.float32)
    for seed in range(10):
        low = degrade(image, recipe, rng(seed))
        assert low.shape == image.shape
        assert low.dtype == np.float32
        levels = low * np.float32(255)
        assert np.abs(levels - levels.round()).max() < 1e-4
        assert low.min() >= 0
        assert low.max() <= 1


def test_the_input_is_left_alone(image):
    before = image.copy()
    degrade(image, RECIPES["gpen"], rng())
    assert np.array_equal(image, before)


def test_a_recipe_that_does_nothing(image):
    low = degrade(image, NEUTRAL, rng())
    assert np.abs(low - image).max() < 24 / 255  # JPEG halves the resolution of colour
    assert psnr(low, image) > 38


@pytest.mark.parametrize("name", RECIPES)
def test_drawn_values_fill_the_recipes_ranges(image, monkeypatch, name):
    recipe = RECIPES[name]
    kernels, resized = Spy(monkeypatch, "filter2D"), Spy(monkeypatch, "resize")
    encoded = Spy(monkeypatch, "imencode")
    for seed in range(150):
        degrade(image, recipe, rng(seed))

    factors = np.array([96 / width for _, (width, _) in resized.calls[::2]])
    assert factors.min() >= 96 / round(96 / recipe.shrink[0])  # whole pixels
    assert factors.max() <= 96 / round(96 / recipe.shrink[1])
    assert np.ptp(factors) > 0.9 * (recipe.shrink[1] - recipe.shrink[0])
    assert all(size == (96, 96) for _, size in resized.calls[1::2])

    qualities = [parameters[1] for _, _, parameters in encoded.calls]
    assert recipe.jpeg[0] <= min(qualities) < recipe.jpeg[0] + 3
    assert recipe.jpeg[1] - 3 < max(qualities) <= recipe.jpeg[1]

    axis = np.arange(recipe.kernel_size) - recipe.kernel_size // 2
    x, y = np.meshgrid(axis, axis)
    isotropic = 0
    for _, _, kernel in kernels.calls:
        assert kernel.shape == (recipe.kernel_size, recipe.kernel_size)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        covariance = np.array([[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)])
        smaller, larger = np.sqrt(np.clip(np.linalg.eigvalsh(covariance), 0, None))
        assert larger <= recipe.blur[1] + 0.01
        isotropic += larger - smaller < 1e-3
    assert 0.35 < isotropic / len(kernels.calls) < 0.65


@pytest.mark.parametrize("sigma", [2, 10, 20])
def test_noise_is_in_levels(sigma):
    grey = np.full((128, 128, 3), 0.5, dtype=np.float32)
    recipe = Recipe(21, 0.5, (0.01, 0.01), (1, 1), (sigma, sigma), (100, 100))
    luma = degrade(grey, recipe, rng()) @ np.array([0.299, 0.587, 0.114])
    expected = sigma * np.sqrt(0.299**2 + 0.587**2 + 0.114**2)  # channels are independent
    assert luma.std() * 255 == pytest.approx(expected, rel=0.12)
    assert luma.mean() == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("blur", [0.1, 1.5, 4, 10]),
        ("shrink", [1, 2, 4, 8]),
        ("noise", [0, 5, 20]),
        ("jpeg", [100, 60, 20]),
    ],
)
def test_each_stage_does_harm_by_its_strength(image, field, values):
    scores = []
    for value in values:
        recipe = Recipe(**(vars(NEUTRAL) | {"kernel_size": 41, field: (value, value)}))
        scores.append(psnr(degrade(image, recipe, rng()), image))
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[-1] > 3


def test_light_is_lighter(image):
    means = {
        name: np.mean([psnr(degrade(image, recipe, rng(i)), image) for i in range(40)])
        for name, recipe in RECIPES.items()
    }
    assert means["light"] > means["gpen"] + 3
