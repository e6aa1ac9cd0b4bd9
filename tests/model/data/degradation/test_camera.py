import numpy as np
import pytest

from model.data.degradation.camera import CameraRanges, demosaic, mosaic, through_camera
from tests.model.data.degradation.support import psnr, rng

QUIET = CameraRanges(shot=(1e-12, 1e-12))


def test_without_noise_only_the_mosaic_is_lost(image):
    for seed in range(6):
        developed = through_camera(image, QUIET, rng(seed))
        assert developed.shape == image.shape
        assert developed.dtype == np.float32
        assert psnr(developed, image) > psnr(demosaic(mosaic(image)), image) - 4
        means = developed.mean((0, 1)) - image.mean((0, 1))
        assert np.abs(means).max() * 255 < 1


def test_colours_come_back():
    """In flat patches there is nothing to lose; strong colours leave the camera's range."""
    for colour in ([0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [0.8, 0.6, 0.5], [0.3, 0.2, 0.15]):
        patch = np.tile(np.array(colour, dtype=np.float32), (16, 16, 1))
        for seed in range(8):
            developed = through_camera(patch, QUIET, rng(seed))
            np.testing.assert_allclose(developed, patch, atol=2 / 255)


def test_noise_grows_with_the_sensor(image):
    scores = []
    for shot in (1e-4, 1e-3, 0.012):
        ranges = CameraRanges(shot=(shot, shot))
        scores.append(
            np.mean([psnr(through_camera(image, ranges, rng(i)), image) for i in range(4)])
        )
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[-1] > 6


def test_noise_is_of_one_pixel_before_demosaicing():
    """Bilinear demosaicing leaves green less correlated than red and blue."""
    flat = np.full((128, 128, 3), 0.5, dtype=np.float32)
    noise = through_camera(flat, CameraRanges(shot=(0.005, 0.005)), rng()) - flat
    assert 5 < noise.std() * 255 < 60
    red, green = (noise[..., c] - noise[..., c].mean() for c in (0, 1))
    correlation = [np.mean(c[:, 1:] * c[:, :-1]) / np.mean(c * c) for c in (red, green)]
    assert correlation[0] > 0.4
    assert correlation[0] > correlation[1]


@pytest.mark.parametrize("shape", [(16, 16, 3), (15, 17, 3)])
def test_demosaicing_inverts_the_mosaic_of_a_slope(shape):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    slope = np.stack([x / 20, y / 20, (x + y) / 40], axis=2)
    np.testing.assert_allclose(demosaic(mosaic(slope))[2:-2, 2:-2], slope[2:-2, 2:-2], atol=1e-6)
