import cv2
import numpy as np
import pytest

from app.faces.align import warp
from model.data.crops import centre_crop, crop_width, sample


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)


def test_the_crop_is_what_the_margin_leaves():
    assert crop_width(400, 0.125) == 320
    assert crop_width(400, 0) == 400


def test_centre_crop_without_resizing_is_to_the_pixel(picture):
    assert np.array_equal(centre_crop(picture, 32, 0.125), picture[4:36, 4:36])
    assert np.array_equal(centre_crop(picture, 40), picture)


def test_centre_crop_averages(picture):
    expected = picture[4:36, 4:36].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(centre_crop(picture, 16, 0.125), expected, atol=1)


def test_what_is_smaller_is_enlarged_as_the_service_does_it(picture):
    """An aligned picture of 32 px, for a network of 100."""
    small = picture[4:36, 4:36]
    scale = 100 / 32
    matrix = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]])
    served = warp(small, matrix, (100, 100), border=cv2.BORDER_REFLECT_101)
    ours = centre_crop(picture, 100, 0.125)
    assert np.abs(ours.astype(int) - served).max() <= 1
    nearest = cv2.resize(small, (100, 100), interpolation=cv2.INTER_NEAREST)
    assert np.abs(ours.astype(int) - nearest).max() > 20


def test_the_identity_samples_the_picture(picture):
    assert np.array_equal(sample(picture, np.eye(2, 3), 40), picture)


def test_what_is_reduced_does_not_alias():
    """A grid of single pixels is grey at a quarter of the size, wherever it is taken from."""
    grid = np.zeros((160, 160, 3), np.uint8)
    grid[::2, ::2] = grid[1::2, 1::2] = 255
    for shift in (0.0, 0.4, 1.3):
        matrix = np.array([[4.0, 0, 1.5 + shift], [0, 4.0, 1.5]])
        inner = sample(grid, matrix, 40)[2:-2, 2:-2]
        assert np.abs(inner.astype(int) - 127).max() <= 12  # of 127, without averaging


def test_places_stay_where_they_are_when_reduced():
    """A soft spot is found again where the matrix leads to it."""
    y, x = np.mgrid[:128, :128]
    spot = (255 * np.exp(-((x - 70) ** 2 + (y - 50) ** 2) / 200)).astype(np.uint8)
    picture = np.repeat(spot[..., None], 3, axis=2)
    matrix = np.array([[3.0, 0, 10.0], [0, 3.0, 5.0]])
    weight = sample(picture, matrix, 32)[..., 0].astype(float)
    columns = (weight.sum(0) * np.arange(32)).sum() / weight.sum()
    rows = (weight.sum(1) * np.arange(32)).sum() / weight.sum()
    assert columns == pytest.approx(20, abs=0.1)
    assert rows == pytest.approx(15, abs=0.1)
