import numpy as np
import pytest

from model.augmentation import augment, replace_background, vary_colour, vary_pose
from model.dataset import to_float
from model.degradation import FloatImage


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def face(faces) -> FloatImage:
    return to_float(faces[0])


@pytest.fixture
def other(faces) -> FloatImage:
    return to_float(faces[3])


@pytest.mark.parametrize("seed", range(20))
def test_shape_range_and_type(face, other, seed):
    before = face.copy(), other.copy()
    varied = augment(face, lambda: other, rng(seed))
    assert varied.shape == face.shape
    assert varied.dtype == np.float32
    assert varied.flags.c_contiguous
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert np.array_equal(face, before[0])
    assert np.array_equal(other, before[1])


def test_a_seed_gives_a_picture(face, other):
    assert np.array_equal(
        augment(face, lambda: other, rng(7)), augment(face, lambda: other, rng(7))
    )
    pictures = [augment(face, lambda: other, rng(seed)) for seed in range(8)]
    assert len({picture.tobytes() for picture in pictures}) == 8


def test_half_of_the_faces_are_mirrored(other):
    """A bright left half stays on the left, or goes to the right."""
    face = np.zeros((64, 64, 3), dtype=np.float32)
    face[:, :32] = 0.9
    mirrored = 0
    for seed in range(200):
        varied = augment(face, lambda: face, rng(seed))
        mirrored += varied[16:48, 40:].mean() > varied[16:48, :24].mean()
    assert 70 < mirrored < 130


def marked_centre() -> FloatImage:
    y, x = np.mgrid[:128, :128].astype(np.float32)
    blob = np.exp(-((x - 63.5) ** 2 + (y - 63.5) ** 2) / (2 * 6**2))
    return np.repeat(blob[..., None], 3, axis=2)


def test_pose_stays_near():
    """The centre moves by the shift alone (5% of 128 px); areas change by the scale squared."""
    x = np.arange(128)
    picture = marked_centre()
    moves, areas = [], []
    for seed in range(200):
        weight = vary_pose(picture, rng(seed))[..., 0]
        moves.append((x * weight).sum() / weight.sum() - 63.5)
        areas.append(weight.sum() / picture[..., 0].sum())
    assert abs(np.mean(moves)) < 1.5
    assert 0.05 * 128 * 0.8 < np.std(moves) < 0.05 * 128 * 1.2
    assert 0.8**2 * 0.8 < min(areas) < 0.8**2 * 1.2
    assert 1.3**2 * 0.8 < max(areas) < 1.3**2 * 1.2


def test_background_leaves_the_face(face):
    filling = np.zeros_like(face)
    for seed in range(20):
        replaced = replace_background(face, filling, rng(seed))
        np.testing.assert_allclose(replaced[28:36, 28:36], face[28:36, 28:36], atol=1e-6)
        assert np.abs(replaced[:4, :4] - face[:4, :4]).max() > 0.02
        assert replaced.dtype == np.float32


def test_colour_keeps_order_of_brightness():
    """Whatever the curve, white stays lighter than black."""
    ramp = np.linspace(0, 1, 32, dtype=np.float32)
    picture = np.broadcast_to(ramp[None, :, None], (32, 32, 3)).copy()
    for seed in range(100):
        varied = vary_colour(picture, rng(seed))
        assert (np.diff(varied[0], axis=0) >= -1e-6).all()
        assert varied[0, -1].mean() > varied[0, 0].mean() + 0.2


def test_some_photos_are_grey(face):
    def is_grey(picture: FloatImage) -> bool:
        return bool(np.ptp(picture, axis=2).max() < 1e-4)

    grey = sum(is_grey(vary_colour(face, rng(seed))) for seed in range(400))
    assert 30 < grey < 85  # of 15%, some are tinted or faded in colour
