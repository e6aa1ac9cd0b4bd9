from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.data.augmentation import augmentation, draw_window, flip, vary, vary_colour
from model.data.crops import Matrix, Picture, centre_crop, crop_width, sample


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def face(faces) -> Picture:
    return np.asarray(faces[0])


@pytest.fixture
def wide(astronaut) -> Picture:
    """A face with a margin of 0.125: (200, 200, 3), of which the middle 160 are the crop."""
    return np.ascontiguousarray(astronaut[20:220, 120:320])


def test_none_leaves_the_face(face):
    assert augmentation("none", 64, 0)(face, rng()) is face


def test_flip_mirrors_half_of_the_faces_and_makes_a_fifth_grey(face):
    mirrored = grey = 0
    for seed in range(300):
        flipped = flip(face, rng(seed))
        is_grey = bool((np.ptp(flipped, axis=2) == 0).all())
        grey += is_grey
        if not is_grey:
            is_mirrored = np.array_equal(flipped, face[:, ::-1])
            assert is_mirrored or np.array_equal(flipped, face)
            mirrored += is_mirrored
    assert 35 <= grey <= 90
    assert 0.35 < mirrored / (300 - grey) < 0.65


def test_a_seed_gives_a_picture(wide):
    before = wide.copy()
    pictures = [vary(wide, rng(seed), size=64, margin=0.125) for seed in range(8)]
    assert len({picture.tobytes() for picture in pictures}) == 8
    assert {picture.shape for picture in pictures} == {(64, 64, 3)}
    assert np.array_equal(vary(wide, rng(7), size=64, margin=0.125), pictures[7])
    assert np.array_equal(wide, before)


def corners(window: Matrix, size: int) -> np.ndarray:
    """Where the outermost pixels' outer edges lie in the source: (4, 2)."""
    ends = np.array([[x, y, 1] for x in (-0.5, size - 0.5) for y in (-0.5, size - 0.5)])
    return ends @ window.T


@pytest.mark.parametrize(
    ("width", "size", "margin"), [(400, 256, 0.125), (512, 256, 0), (256, 256, 0), (768, 512, 0.25)]
)
def test_windows_lie_inside_the_picture_and_enlarge_nothing(width, size, margin):
    enlarged = []
    for seed in range(300):
        window = draw_window(width, size, margin, rng(seed))
        edges = corners(window, size)
        assert edges.min() >= -0.5 - 1e-6
        assert edges.max() <= width - 0.5 + 1e-6
        enlarged.append(np.linalg.svd(window[:, :2])[1].min())
    assert min(enlarged) > 0.97  # pixels of the picture for one of the result, stretch aside
    if margin:
        widths = np.array(enlarged) * size
        if crop_width(width, margin) > size:  # or what is smaller would be enlarged
            assert widths.min() < 0.95 * crop_width(width, margin)
        assert widths.max() > 1.05 * crop_width(width, margin)


def test_a_file_smaller_than_the_network_is_not_cut_further():
    for seed in range(50):
        window = draw_window(128, 256, 0, rng(seed))
        assert np.linalg.svd(window[:, :2])[1].min() > 0.99 * 128 / 256


def test_windows_are_turned_shifted_and_mirrored():
    windows = [draw_window(400, 256, 0.125, rng(seed)) for seed in range(300)]
    mirrored = [np.linalg.det(window[:, :2]) < 0 for window in windows]
    assert 0.35 < np.mean(mirrored) < 0.65
    plain = [w for w, flag in zip(windows, mirrored, strict=True) if not flag]
    angles = np.rad2deg([np.arctan2(w[1, 0], w[0, 0]) for w in plain])
    assert 2 < np.std(angles) < 7
    assert abs(np.mean(angles)) < 1
    centres = np.array([w @ [127.5, 127.5, 1] for w in windows]) - 199.5
    assert np.abs(centres).max() <= 0.08 * 320
    assert np.std(centres) > 3


def test_colours_clip_nothing_and_keep_their_order():
    """Black stays black and white white; what lies between stays apart, as far as 8 bits allow."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    picture = np.ascontiguousarray(np.broadcast_to(ramp, (4, 256, 3)))
    for seed in range(100):
        varied = vary_colour(picture, rng(seed)).astype(int)
        assert (np.diff(varied[0], axis=0) >= 0).all()
        assert varied[0, 0].max() == 0
        assert varied[0, -1].min() >= 254
        assert (varied[0, 8:248] > 0).all()
        assert (varied[0, 8:248] < 255).all()


def detail(picture: Picture) -> float:
    """Variance of the luma's Laplacian."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(luma, cv2.CV_32F)[2:-2, 2:-2].var())


def share_of_detail(pictures: list[Picture], size: int, margin: float) -> float:
    """Detail of targets as a share of what the same window has, reduced by area.

    The window is one that is neither turned nor stretched, of each width that ``strong`` draws, so
    that both ways see the same; the mean over pictures and widths.
    """
    shares = []
    for picture in pictures:
        width = picture.shape[0]
        for zoom in (0.85, 1.0, 1.15):
            window = 2 * round(crop_width(width, margin) * zoom / 2)
            if window < size or window > width:
                continue
            start = (width - window) // 2
            scale = window / size
            matrix = np.array([[scale, 0, start + scale / 2 - 0.5]] * 2)
            matrix[1] = [0, scale, start + scale / 2 - 0.5]
            inside = np.ascontiguousarray(picture[start : start + window, start : start + window])
            shares.append(detail(sample(picture, matrix, size)) / detail(centre_crop(inside, size)))
    return float(np.mean(shares))


def test_targets_keep_the_detail_of_their_source(astronaut):
    square = np.ascontiguousarray(astronaut[:500, :500])
    assert share_of_detail([square], 320, 0.125) >= 0.95
    assert share_of_detail([square], 128, 0.125) >= 0.95


def test_targets_keep_the_detail_of_real_faces(shared: Callable[[str], Path]):
    folder = shared("faces_margin/studio")
    pictures = [
        np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)
        for path in sorted(folder.glob("*.jpg"))[::40]
    ]
    assert share_of_detail(pictures, 256, 0.125) >= 0.95
