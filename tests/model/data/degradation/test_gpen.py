import cv2
import numpy as np
import pytest
import skimage.data

from model.data.degradation import RECIPES, degrade, gpen
from model.data.degradation.gpen import GpenRecipe, LightRecipe
from model.data.degradation.operations import to_float
from tests.model.data.degradation.support import Spy, psnr, rng

NEUTRAL = GpenRecipe(
    kernel_size=21,
    anisotropic_probability=0.5,
    blur=(0.01, 0.01),
    shrink=(1, 1),
    noise=(0, 0),
    jpeg=(100, 100),
)

PINNED = {
    ("gpen", 0): (3953581649, [159.63, 156.55, 110.78, 152.12], 69.62, 4.701),
    ("gpen", 1): (4020029990, [159.5, 156.39, 109.43, 150.82], 66.70, 3.141),
    ("gpen", 5): (1169702676, [159.7, 156.41, 109.42, 150.73], 67.43, 4.375),
    ("light", 0): (2673951024, [159.98, 156.27, 109.53, 150.72], 71.84, 4.820),
    ("light", 1): (4059398692, [159.83, 156.28, 109.37, 150.58], 71.01, 3.316),
    ("light", 5): (1250917625, [159.79, 156.26, 109.35, 150.55], 71.37, 3.836),
}
"""By recipe and seed: what the generator draws next; means of the quarters, standard deviation and
mean horizontal gradient of the result, in 8-bit levels."""


@pytest.mark.parametrize(("name", "seed"), PINNED)
def test_results_do_not_change(name, seed):
    """Reported numbers are of such pairs, of 256 px.  (Pixels may differ by rounding.)"""
    generator = rng(seed)
    low = degrade(to_float(skimage.data.astronaut()[:256, 100:356]), RECIPES[name], generator) * 255
    following, quarters, deviation, gradient = PINNED[name, seed]
    assert generator.integers(2**32) == following
    assert low.reshape(2, 128, 2, 128, 3).mean((1, 3, 4)).ravel() == pytest.approx(
        quarters, abs=0.1
    )
    assert low.std() == pytest.approx(deviation, abs=0.1)
    assert np.abs(np.diff(low, axis=1)).mean() == pytest.approx(gradient, abs=0.02)


def test_ranges_are_for_512_px(monkeypatch):
    """At half the size the same is drawn, of half the kernel, half the blur and half the factor."""
    kernels, resized = Spy(monkeypatch, gpen, "bivariate_Gaussian"), Spy(monkeypatch, cv2, "resize")
    recipe = GpenRecipe(blur=(0.1, 10), shrink=(0.8, 8))
    for size in (512, 256):
        for seed in range(10):
            degrade(np.full((size, 64, 3), 0.5, dtype=np.float32), recipe, rng(seed))
    assert set(kernels.arguments(0)[:10]) == {41}
    assert set(kernels.arguments(0)[10:]) == {21}
    for whole, half in zip(kernels.calls[:10], kernels.calls[10:], strict=True):
        shares = [(sigma - 0.1) / (end - 0.1) for sigma, end in ((whole[1], 10), (half[1], 5))]
        assert shares[0] == pytest.approx(shares[1])
        assert whole[3] == half[3]
    factors = [64 / width for _, (width, _) in resized.calls[::2]]
    assert max(factors[10:]) <= 4.01 < max(factors[:10])


def test_a_recipe_that_does_nothing(image):
    low = degrade(image, NEUTRAL, rng())
    assert np.abs(low - image).max() < 24 / 255  # JPEG halves the resolution of colour
    assert psnr(low, image) > 38


@pytest.mark.parametrize("recipe", [GpenRecipe(), LightRecipe()], ids=["gpen", "light"])
def test_drawn_values_fill_the_recipes_ranges(tall, monkeypatch, recipe):
    blurs, resized = Spy(monkeypatch, gpen, "blur"), Spy(monkeypatch, cv2, "resize")
    encoded = Spy(monkeypatch, cv2, "imencode")
    for seed in range(150):
        degrade(tall, recipe, rng(seed))

    factors = np.array([512 / height for _, (_, height) in resized.calls[::2]])
    assert factors.min() >= 512 / round(512 / recipe.shrink[0])  # whole pixels
    assert factors.max() <= 512 / round(512 / recipe.shrink[1])
    assert np.ptp(factors) > 0.9 * (recipe.shrink[1] - recipe.shrink[0])
    assert all(size == (96, 512) for _, size in resized.calls[1::2])

    qualities = [parameters[1] for _, _, parameters in encoded.calls]
    assert recipe.jpeg[0] <= min(qualities) < recipe.jpeg[0] + 3
    assert recipe.jpeg[1] - 3 < max(qualities) <= recipe.jpeg[1]

    axis = np.arange(recipe.kernel_size) - recipe.kernel_size // 2
    x, y = np.meshgrid(axis, axis)
    isotropic = 0
    for _, kernel in blurs.calls:
        assert kernel.shape == (recipe.kernel_size, recipe.kernel_size)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        covariance = np.array([[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)])
        smaller, larger = np.sqrt(np.clip(np.linalg.eigvalsh(covariance), 0, None))
        assert larger <= recipe.blur[1] + 0.01
        isotropic += larger - smaller < 1e-3
    assert 0.35 < isotropic / len(blurs.calls) < 0.65


@pytest.mark.parametrize("sigma", [2, 10, 20])
def test_noise_is_in_levels(sigma):
    grey = np.full((128, 128, 3), 0.5, dtype=np.float32)
    recipe = GpenRecipe(21, 0.5, (0.01, 0.01), (1, 1), (sigma, sigma), (100, 100))
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
def test_each_stage_does_harm_by_its_strength(tall, field, values):
    scores = []
    for value in values:
        recipe = GpenRecipe(**(vars(NEUTRAL) | {"kernel_size": 41, field: (value, value)}))
        scores.append(psnr(degrade(tall, recipe, rng()), tall))
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[-1] > 3
