"""Similarities recovered, crops that match analytic pictures, no aliasing."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.faces.align import align, bounds, similarity, warp
from model.checkpoints.templates import landmark_template

TEMPLATE = landmark_template("gpen", 256)


def matrix_of(angle: float, scale: float, dx: float, dy: float) -> NDArray[np.float64]:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, dx], [s, c, dy]])


def moved(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float64)


def smooth(width: int, height: int) -> NDArray[np.uint8]:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    channels = [
        127 + 100 * np.sin(x / 90),
        127 + 100 * np.cos(y / 100),
        127 + 60 * np.sin((x + y) / 130),
    ]
    return np.stack(channels, axis=2).round().astype(np.uint8)


@pytest.mark.parametrize("angle", [0, 0.4, -2.5, np.pi])
@pytest.mark.parametrize("scale", [0.05, 1, 7])
def test_a_similarity_is_recovered(angle: float, scale: float) -> None:
    expected = matrix_of(angle, scale, 30, -12)
    np.testing.assert_allclose(similarity(TEMPLATE, moved(TEMPLATE, expected)), expected, atol=1e-9)


def test_least_squares_agrees_with_a_general_solver() -> None:
    rng = np.random.default_rng(0)
    source = TEMPLATE + rng.normal(0, 5, TEMPLATE.shape)
    rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in source]
    (a, b, dx, dy), *_ = np.linalg.lstsq(
        np.array(rows).reshape(-1, 4), TEMPLATE.ravel(), rcond=None
    )
    np.testing.assert_allclose(similarity(source, TEMPLATE), [[a, -b, dx], [b, a, dy]], atol=1e-9)


def test_coinciding_points_are_refused() -> None:
    with pytest.raises(ValueError, match="different points"):
        similarity(np.ones((5, 2)), TEMPLATE)


@pytest.mark.parametrize(("angle", "scale"), [(0, 1), (0.3, 1.7), (-0.5, 0.6), (2, 0.21), (0, 0.5)])
def test_a_crop_shows_what_the_matrix_says(angle: float, scale: float) -> None:
    photo = smooth(900, 700)
    centre = np.array([450, 350])
    matrix = matrix_of(angle, scale, 0, 0)
    matrix[:, 2] = 127.5 - matrix[:, :2] @ centre
    landmarks = moved(TEMPLATE, inverse(matrix))
    aligned = align(photo, landmarks, TEMPLATE, 256)
    np.testing.assert_allclose(aligned.matrix, matrix, atol=1e-6)
    x, y = np.meshgrid(np.arange(256), np.arange(256))
    back = moved(np.stack([x.ravel(), y.ravel()], axis=1), inverse(matrix))
    expected = cv2.remap(
        photo,
        back[:, 0].astype(np.float32).reshape(256, 256),
        back[:, 1].astype(np.float32).reshape(256, 256),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    inside = slice(40, -40)
    difference = np.abs(aligned.crop[inside, inside].astype(int) - expected[inside, inside])
    assert difference.mean() < 1.5
    assert difference.max() <= 8


def test_a_large_face_is_averaged_not_aliased() -> None:
    """Stripes of two pixels, shrunk twelve times, are grey; bilinear sampling shows a pattern."""
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    matrix = matrix_of(0.05, 1 / 12, 0, 0)
    ours = warp(stripes, matrix, (100, 100), border=cv2.BORDER_REPLICATE)[10:80, 10:80]
    bilinear = cv2.warpAffine(stripes, matrix, (100, 100), flags=cv2.INTER_LINEAR)[10:80, 10:80]
    assert ours.std() < 12
    assert bilinear.std() > 60


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 2)])
def test_tiny_and_thin_photos(size: tuple[int, int]) -> None:
    photo = np.full((size[1], size[0], 3), 77, np.uint8)
    for scale in (0.1, 1.0, 30.0):
        crop = align(photo, TEMPLATE * scale - 400, TEMPLATE, 256).crop
        assert (crop == 77).all()


def test_bounds_stay_inside() -> None:
    far_away = matrix_of(0, 1, 5000, -5000)
    assert bounds(far_away, (10, 10), 100, 80) == (99, 0, 100, 1)
    assert bounds(matrix_of(0, 1, 3, 4), (10, 10), 100, 80) == (2, 3, 14, 15)


def test_a_photo_longer_than_opencv_warps() -> None:
    photo = np.zeros((40, 40_000, 3), np.uint8)
    photo[:, 35_000:] = 200
    for scale in (0.1, 4.0):
        crop = align(photo, (TEMPLATE - 127.5) * scale / 10 + [36_000, 20], TEMPLATE, 256).crop
        assert (crop == 200).all()
