from dataclasses import replace

import cv2
import numpy as np
import pytest

from model.data.degradation import bsrgan, degrade
from model.data.degradation.bsrgan import (
    BsrganRecipe,
    add_correlated_noise,
    shifted_gaussian,
)
from tests.model.data.degradation.support import Spy, fills, psnr, rng

NEUTRAL = BsrganRecipe(
    scales=(1,),
    isotropic=(0.01, 0.01),
    isotropic_growth=0,
    anisotropic_probability=0,
    resize=(1, 1),
    resize_probability=1,
    noise=(0, 0),
    jpeg=(100, 100),
    camera_probability=0,
)


def test_a_recipe_that_does_nothing(image):
    for seed in range(8):
        low = degrade(image, NEUTRAL, rng(seed))
        assert np.abs(low - image).max() < 40 / 255  # JPEG halves the resolution of colour, twice
        assert psnr(low, image) > 35


def test_drawn_values_fill_the_ranges(tall, monkeypatch):
    recipe = BsrganRecipe()
    kernels, blurs = (
        Spy(monkeypatch, bsrgan, "bivariate_Gaussian"),
        Spy(monkeypatch, bsrgan, "blur"),
    )
    jpegs, camera = Spy(monkeypatch, bsrgan, "jpeg"), Spy(monkeypatch, bsrgan, "through_camera")
    noise = Spy(monkeypatch, bsrgan, "add_gaussian_noise")
    correlated = Spy(monkeypatch, bsrgan, "add_correlated_noise")
    shifted = Spy(monkeypatch, bsrgan, "shifted_gaussian")
    count = 300
    for seed in range(count):
        degrade(tall, recipe, rng(seed))

    assert len(kernels.calls) == 2 * count
    assert len(blurs.calls) == 2 * count + len(shifted.calls)
    assert set(kernels.arguments(0)) == set(recipe.kernel_sizes)
    isotropic = [
        call[1] for call, kw in zip(kernels.calls, kernels.keywords, strict=True) if not kw
    ]
    assert 0.42 < len(isotropic) / (2 * count) < 0.58
    assert fills(isotropic, 0.1, 2.8)
    variances = [
        call[axis] ** 2
        for call, kw in zip(kernels.calls, kernels.keywords, strict=True)
        for axis in (1, 2)
        if kw
    ]
    assert fills(variances, 0.5, 8)

    qualities = jpegs.arguments(1)
    assert fills(qualities, 30, 95)
    assert 0.83 < (len(qualities) - count) / count < 0.97
    assert 0.17 < len(camera.calls) / count < 0.33
    assert 0.17 < len(shifted.calls) / count < 0.33
    assert {shift for _, shift in shifted.calls} == {0, 0.5, 1.5}

    assert len(noise.calls) + len(correlated.calls) == count
    assert fills(noise.arguments(1), 2, 25)
    grey = [keyword["grey"] for keyword in noise.keywords].count(True)
    assert 0.32 < grey / count < 0.48
    assert 0.13 < len(correlated.calls) / count < 0.27


def test_order_is_random_but_for_the_exact_resize():
    orders = [bsrgan._draw_order(7, rng(seed)) for seed in range(300)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert all(order.index(0) < order.index(1) for order in orders)
    assert len({tuple(order) for order in orders}) > 250
    for operation in range(2, 7):
        first = np.mean([order[0] == operation for order in orders])
        assert 0.07 < first < 0.22


@pytest.mark.parametrize("scale", [2, 4])
def test_a_shifted_kernel_stands_for_the_middle_of_a_block(scale):
    for sigma in (0.05, 0.5, 2):
        kernel = shifted_gaussian(sigma, (scale - 1) / 2)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        y, x = np.mgrid[:25, :25] - 12
        assert (kernel * x).sum() == pytest.approx((scale - 1) / 2, abs=0.02)
        assert (kernel * y).sum() == pytest.approx((scale - 1) / 2, abs=0.02)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("resize_probability", [0, 1])
def test_downsampling_does_not_move(scale, resize_probability):
    """A slope's values stay where they are, relative to the picture's width."""
    recipe = BsrganRecipe(scales=(scale,), resize_probability=resize_probability)
    x = (np.arange(64, dtype=np.float32) + 0.5) / 64
    slope = np.tile(x[None, :, None], (64, 1, 3)).astype(np.float32)
    for seed in range(6):
        small = recipe._downsample(slope, scale, scale, 512, rng(seed))
        middle = small.shape[1] // 4
        expected = (np.arange(small.shape[1]) + 0.5) / small.shape[1]
        found = small.mean((0, 2))
        np.testing.assert_allclose(
            found[middle:-middle], expected[middle:-middle], atol=0.15 / 64 * scale
        )


def test_the_size_before_the_last_jpeg_is_the_scales(tall, monkeypatch):
    encoded = Spy(monkeypatch, cv2, "imencode")
    for scale in (1, 2, 4):
        for seed in range(6):
            degrade(tall, BsrganRecipe(scales=(scale,)), rng(seed))
            assert encoded.calls[-1][1].shape == (512 // scale, 96 // scale, 3)


def test_correlated_noise():
    flat = np.full((64, 64, 3), 0.5, dtype=np.float32)
    deviations, correlations = [], []
    for seed in range(30):
        noise = (add_correlated_noise(flat, 25, rng(seed)) - flat).reshape(-1, 3) * 255
        deviations += list(noise.std(0))
        correlations += list(np.corrcoef(noise.T)[np.triu_indices(3, 1)])
    assert 0 < min(deviations) < max(deviations) < 26
    assert min(correlations) > -0.06
    assert max(correlations) > 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"isotropic": (2.8, 2.8)},
        {"scales": (4,), "halved_probability": 0},
        {"resize": (2, 2)},
        {"resize_probability": 0, "shifted_sigma": (2, 2)},
        {"noise": (25, 25), "noise_probabilities": (1, 0, 0)},
        {"noise": (25, 25), "noise_probabilities": (0, 1, 0)},
        {"noise": (25, 25), "noise_probabilities": (0, 0, 1)},
        {"jpeg": (30, 30)},
        {"camera_probability": 1},
    ],
    ids=["blur", "scale", "resize", "shifted", "colour", "grey", "correlated", "jpeg", "camera"],
)
def test_each_stage_does_harm(tall, changes):
    untouched = np.mean([psnr(degrade(tall, NEUTRAL, rng(i)), tall) for i in range(4)])
    recipe = replace(NEUTRAL, **changes)
    harmed = np.mean([psnr(degrade(tall, recipe, rng(i)), tall) for i in range(4)])
    assert harmed < untouched - 3


def test_ranges_are_for_512_px(monkeypatch):
    """At half the size pictures are made half as small, and blurred half as much."""
    encoded = Spy(monkeypatch, cv2, "imencode")
    kernels = Spy(monkeypatch, bsrgan, "bivariate_Gaussian")
    last = set()
    for seed in range(150):
        degrade(np.full((256, 32, 3), 0.5, dtype=np.float32), BsrganRecipe(), rng(seed))
        last.add(encoded.calls[-1][1].shape[0])
    assert last == {256, 128}
    assert max(kernels.arguments(0)) == 13
    isotropic, anisotropic = (
        [call[1] for call, kw in zip(kernels.calls, kernels.keywords, strict=True) if bool(kw) == k]
        for k in (False, True)
    )
    assert fills(isotropic, 0.1, 1.4)
    assert fills(anisotropic, np.sqrt(0.5), np.sqrt(2))
