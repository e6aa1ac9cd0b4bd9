import cv2
import numpy as np
import pytest

from model.data.degradation.operations import (
    LUMA,
    RESIZE_MODES,
    FloatImage,
    add_gaussian_noise,
    add_poisson_noise,
    blur,
    jpeg,
    mix_channels,
    resize,
    to_8_bit,
)
from tests.model.data.degradation.support import psnr, rng


def gaussian(size: int, sigma_x: float, sigma_y: float) -> FloatImage:
    axis = np.arange(size) - size // 2
    kernel = np.outer(np.exp(-((axis / sigma_y) ** 2) / 2), np.exp(-((axis / sigma_x) ** 2) / 2))
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


@pytest.mark.parametrize(
    "kernel",
    [
        gaussian(9, 1, 3),
        gaussian(21, 2, 2),
        np.diag(np.full(7, 1 / 7)),
        np.diag(np.arange(21) / 210),  # neither separable, nor small, nor its own mirror image
    ],
)
def test_blur_is_correlation_whether_separable_or_not(image, kernel):
    kernel = kernel.astype(np.float32)
    half = len(kernel) // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(0, 1))
    expected = np.einsum("ijcyx,yx->ijc", windows, kernel)
    np.testing.assert_allclose(blur(image, kernel), expected, atol=1e-5)


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_resize(image, mode):
    small = resize(image, 40.4, 30.6, mode)
    assert small.shape == (40, 31, 3)
    assert small.dtype == np.float32
    assert resize(image, 0.1, 0.1, mode).shape == (1, 1, 3)
    checks = (np.indices((16, 16)).sum(0) % 2).astype(np.float32)
    large = resize(np.repeat(checks[..., None], 3, axis=2), 40, 40, mode)
    assert large.min() >= 0
    assert large.max() <= 1


@pytest.mark.parametrize("grey", [True, False])
def test_gaussian_noise(grey):
    flat = np.full((128, 128, 3), 0.5, dtype=np.float32)
    noise = (add_gaussian_noise(flat, 10, rng(), grey=grey) - flat) * 255
    assert noise.std() == pytest.approx(10, rel=0.03)
    assert noise.mean() == pytest.approx(0, abs=0.2)
    assert (np.ptp(noise, axis=2).max() < 1e-4) == grey


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("level", [10, 40, 200])  # at 3, it clips
def test_poisson_noise(level, grey):
    """Mean and variance are Poisson's, of few events and of many."""
    picture = np.full((128, 128, 3), level / 255, dtype=np.float32)
    picture[:4, :33] = (np.arange(132).reshape(4, 33, 1) + 95) / 255  # many levels: 2^8 events
    noise = (add_poisson_noise(picture, 0.5, rng(), grey=grey) - picture)[8:]
    events = level / 255 * 256
    assert noise.mean() * 255 == pytest.approx(0, abs=0.2)
    assert noise.std() == pytest.approx(0.5 * np.sqrt(events) / 256, rel=0.05)
    assert (np.ptp(noise, axis=2).max() < 1e-5) == grey


def test_events_are_few_where_levels_are():
    """As in basicsr: a picture of two levels is counted in two events."""
    picture = np.zeros((64, 64, 3), dtype=np.float32)
    picture[:32] = 1
    noise = add_poisson_noise(picture, 0.1, rng(), grey=False) - picture
    assert (noise[32:] == 0).all()
    values = np.unique(np.round(noise[:32] * 20, 3))
    assert np.array_equal(values, np.round(values))  # whole events
    assert noise[:32].min() == pytest.approx(-0.1)  # of two, none


def test_jpeg(image):
    scores = [psnr(jpeg(image, quality), image) for quality in (100, 60, 20)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 30
    red = np.zeros((16, 16, 3), dtype=np.float32)
    red[..., 0] = 1
    assert np.abs(jpeg(red, 95) - red).max() < 0.02  # channels keep their places


def test_mixing_is_a_product(image):
    matrix = rng().random((3, 3)).astype(np.float32)
    np.testing.assert_allclose(mix_channels(image, matrix), image @ matrix.T, atol=1e-6)
    assert mix_channels(image, LUMA).shape == (96, 96, 1)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    np.testing.assert_allclose(mix_channels(image, LUMA)[..., 0], grey, atol=1e-3)


def test_levels_are_rounded():
    values = np.array([-0.1, 0, 0.4 / 255, 0.6 / 255, 1, 1.2], dtype=np.float32)
    assert to_8_bit(values).tolist() == [0, 0, 0, 1, 255, 255]


def test_levels_are_clipped_and_rounded():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_8_bit(levels.astype(np.float32) / np.float32(255)), levels)
    picture = np.array([[[-0.5], [1.5]], [[0.499 / 255], [0.501 / 255]]], dtype=np.float32)
    assert np.array_equal(to_8_bit(picture), [[[0], [255]], [[0], [1]]])
