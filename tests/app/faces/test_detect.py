"""Faces in photos of all sizes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import ArrayLike
from skimage import data
from torch import nn

from app.faces.detect import FINE_PIXELS, Face, detect
from app.imaging.photo import Pixels
from model.boxes import Floats
from model.checkpoints.templates import landmark_template
from model.networks.retinaface import anchors, load_detector, padded_shape

WEIGHTS = Path(__file__).parents[3] / "weights" / "retinaface-mobilenet0.25.safetensors"
ASTRONAUT = (179, 59, 273, 176)  # the face's box in the picture of 512 pixels


@pytest.fixture(scope="module")
def detector() -> nn.Module:
    return load_detector(WEIGHTS)


def find(
    detector: nn.Module, *images: Pixels, threshold: float = 0.9, min_face: float = 24
) -> list[list[Face]]:
    return detect(detector, images, threshold=threshold, min_face=min_face)


def read(path: Path) -> Pixels:
    return np.asarray(PIL.Image.open(path).convert("RGB"))


def resize(image: Pixels, width: int, height: int) -> Pixels:
    smaller = width < image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def iou(box: Floats, other: ArrayLike) -> float:
    """Intersection over union of two boxes."""
    a, b = box, np.asarray(other)
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = np.maximum(sides, 0).prod()
    return float(both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both))


def assert_same(found: list[Face], expected: list[Face], atol: float = 0.0) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.box, b.box, atol=atol)
        np.testing.assert_allclose(a.landmarks, b.landmarks, atol=atol)
        assert a.score == pytest.approx(b.score, abs=1e-4)


def test_the_astronauts_face(detector, astronaut):
    ((face,),) = find(detector, astronaut)
    assert face.box.dtype == face.landmarks.dtype == np.float32
    assert face.box.shape == (4,)
    assert face.landmarks.shape == (5, 2)
    assert 0.99 < face.score <= 1
    assert iou(face.box, ASTRONAUT) > 0.9
    # where they are in the picture, within a tenth of the distance of the eyes
    expected = [(206, 107), (247, 109), (228, 133), (207, 146), (244, 147)]
    np.testing.assert_allclose(face.landmarks, expected, atol=5)


@pytest.mark.parametrize("side", [128, 300, 1024, 3000, 6300])
def test_a_face_is_found_at_any_size(detector, astronaut, side):
    ((face,),) = find(detector, resize(astronaut, side, side), min_face=16)
    ((expected,),) = find(detector, astronaut)
    assert iou(face.box * 512 / side, expected.box) > 0.8
    np.testing.assert_allclose(face.landmarks * 512 / side, expected.landmarks, atol=6)


@pytest.mark.parametrize("side", [64, 200, 1000, 3000])
def test_a_face_that_fills_the_picture(detector, astronaut, side):
    crop = astronaut[50:190, 156:296]
    ((face,),) = find(detector, resize(crop, side, side))
    assert (face.box >= 0).all()
    assert (face.box <= side).all()
    assert face.box[3] - face.box[1] > 0.75 * side


def test_a_face_that_reaches_over_the_border(detector, astronaut):
    crop = astronaut[20:240, 205:400]
    ((face,),) = find(detector, crop)
    assert 0 <= face.box[0] < 1
    assert iou(face.box, (0, 39, 68, 156)) > 0.75


def test_a_badly_degraded_face_is_one_face(detector, astronaut):
    """Found in a coarse octave alone: at its own size, the noise hides it."""
    crop = resize(astronaut[30:210, 136:316], 512, 512)
    small = cv2.resize(cv2.GaussianBlur(crop, (41, 41), 10), (64, 64))
    noisy = small + np.random.default_rng(0).normal(0, 20, small.shape)
    degraded = resize(noisy.clip(0, 255).astype(np.uint8), 512, 512)
    ((face,),) = find(detector, degraded)
    ((expected,),) = find(detector, crop)
    assert iou(face.box, expected.box) > 0.6


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "coins", "brick", "moon", "grass"])
def test_no_face(detector, name):
    image = getattr(data, name)()
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, 2)
    assert find(detector, image) == [[]]


@pytest.mark.parametrize("value", [0, 128, 255])
def test_no_face_in_a_flat_picture(detector, value):
    assert find(detector, np.full((300, 400, 3), value, np.uint8)) == [[]]


@pytest.mark.parametrize(
    "shape", [(1, 1), (8, 3000), (3000, 8), (1, 10_000_000), (33, 31)], ids=str
)
def test_odd_shapes(detector, shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    assert find(detector, image) == [[]]


def test_no_pictures(detector):
    assert find(detector) == []


def test_pictures_do_not_depend_on_each_other(detector, astronaut):
    images = [
        astronaut,
        data.coffee(),
        np.ascontiguousarray(astronaut[:, ::-1]),
        resize(astronaut, 700, 500),
        astronaut[:, :400],
        np.zeros((5, 7, 3), np.uint8),
        astronaut,
    ]
    together = find(detector, *images)
    assert [len(faces) for faces in together] == [1, 0, 1, 1, 1, 0, 1]
    for faces, image in zip(together, images, strict=True):
        assert_same(faces, find(detector, image)[0], atol=0.01)


def test_threads_share_a_detector(detector, astronaut):
    images = [resize(astronaut, 200 + 30 * i, 300) for i in range(8)]
    serial = [find(detector, image)[0] for image in images]
    assert all(serial)
    with ThreadPoolExecutor(8) as pool:
        for expected, (found,) in zip(
            serial * 3, pool.map(lambda image: find(detector, image), images * 3), strict=True
        ):
            assert_same(found, expected, atol=0.01)


def test_min_face_is_the_shorter_side(detector, astronaut):
    ((face,),) = find(detector, astronaut)
    width, height = face.box[2:] - face.box[:2]
    assert width < height
    assert len(find(detector, astronaut, min_face=width - 0.5)[0]) == 1
    assert find(detector, astronaut, min_face=width + 0.5) == [[]]


def test_threshold(detector, astronaut):
    small = resize(astronaut, 64, 64)  # the face is 12 pixels wide
    found = find(detector, small, threshold=0.2, min_face=4)[0]
    assert found
    assert min(face.score for face in found) >= 0.2
    best = max(face.score for face in found)
    assert best < 0.9
    (again,) = find(detector, small, threshold=best - 1e-3, min_face=4)
    assert [face.score for face in again] == [pytest.approx(best)]
    assert find(detector, small, threshold=best + 1e-3, min_face=4) == [[]]


def test_the_largest_comes_first(detector, astronaut):
    canvas = np.full((900, 900, 3), 90, np.uint8)
    for side, (x, y) in ((200, (50, 50)), (400, (450, 450)), (300, (50, 500))):
        canvas[y : y + side, x : x + side] = resize(astronaut[:256, 100:356], side, side)
    (faces,) = find(detector, canvas)
    widths = [face.box[2] - face.box[0] for face in faces]
    assert len(widths) == 3
    assert widths == sorted(widths, reverse=True)
    assert faces[0].box[0] > 450


class Scripted(nn.Module):
    """Finds the given boxes in a picture of 64 pixels, all landmarks in their top left corners."""

    def __init__(self, *found: tuple[float, list[float]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.found = found

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        all_anchors = torch.tensor(anchors(*x.shape[2:]))
        boxes, scores, points = (torch.zeros(1, len(all_anchors), n) for n in (4, 2, 10))
        for i, (score, box) in enumerate(self.found):
            centre, side = all_anchors[i, :2], all_anchors[i, 2]
            low, high = torch.tensor(box[:2]), torch.tensor(box[2:])
            boxes[0, i, :2] = ((low + high) / 2 - centre) / (0.1 * side)
            boxes[0, i, 2:] = ((high - low) / side).log() / 0.2
            scores[0, i, 1] = score
            points[0, i] = ((low - centre) / (0.1 * side)).repeat(5)
        return boxes, scores, points


PICTURE = np.zeros((64, 64, 3), np.uint8)


def test_part_of_a_face_is_no_face():
    part, whole = (0.92, [15.0, 5.0, 40.0, 35.0]), (0.95, [10.0, 10.0, 60.0, 60.0])
    assert iou(np.array(part[1]), whole[1]) < 0.3
    ((face,),) = find(Scripted(part, whole), PICTURE)
    np.testing.assert_allclose(face.box, whole[1], atol=1e-3)
    ((face,),) = find(Scripted(part), PICTURE)
    np.testing.assert_allclose(face.box, part[1], atol=1e-3)


def test_faces_side_by_side_are_two():
    left, right = [0.0, 10.0, 34.0, 50.0], [26.0, 12.0, 60.0, 52.0]
    (faces,) = find(Scripted((0.92, left), (0.95, right)), PICTURE)
    assert len(faces) == 2


def test_a_face_is_the_mean_of_those_that_agree():
    best, agreeing = (0.99, [10.0, 10.0, 50.0, 50.0]), (0.91, [12.0, 8.0, 52.0, 48.0])
    overlapping = (0.95, [18.0, 18.0, 58.0, 58.0])  # the same face, but too far off
    unlikely = (0.89, [10.0, 11.0, 50.0, 51.0])
    ((face,),) = find(Scripted(agreeing, best, overlapping, unlikely), PICTURE)
    np.testing.assert_allclose(face.box, [11, 9, 51, 49], atol=1e-3)
    np.testing.assert_allclose(face.landmarks, [[11, 9]] * 5, atol=1e-3)
    assert face.score == pytest.approx(0.99)


@pytest.mark.shared
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_everyone_at_the_solvay_conference(detector, shared, scale):
    photo = read(shared("photos/Solvay_conference_1927.png"))
    height, width = photo.shape[:2]
    (faces,) = find(detector, resize(photo, scale * width, scale * height))
    assert len(faces) == 29
    eyes_left, eyes_right, nose, mouth_left, mouth_right = np.stack(
        [face.landmarks for face in faces], 1
    )
    assert (eyes_left[:, 0] < eyes_right[:, 0]).all()
    assert (mouth_left[:, 0] < mouth_right[:, 0]).all()
    assert (eyes_left[:, 1] < nose[:, 1]).all()
    assert (nose[:, 1] < mouth_left[:, 1]).all()


@pytest.mark.shared
def test_an_aligned_face_is_one_face(detector, shared):
    """Landmarks lie on the template that the pictures are aligned to."""
    aligned = landmark_template("gpen", 512)
    errors = []
    for path in sorted(shared("faces/512").glob("*.jpg"))[::20]:
        ((face,),) = find(detector, read(path))
        errors.append(np.linalg.norm(face.landmarks - aligned, axis=1).mean() / 107)
    assert len(errors) > 10
    assert np.mean(errors) < 0.1  # of the distance of the eyes


@pytest.mark.shared
def test_a_crowd_on_40_megapixels(detector, shared):
    canvas = resize(data.coffee(), 7300, 5500)
    paths = sorted(shared("faces/512").glob("*.jpg"))[::9][:29]
    for i, path in enumerate(paths):
        face = resize(read(path), 250, 250)
        x, y = 300 + i % 6 * 1150, 300 + i // 6 * 1000
        canvas[y : y + 250, x : x + 250] = face
    (faces,) = find(detector, canvas)
    assert len(faces) == len(paths) == 29


@pytest.mark.parametrize("shape", [(5500, 7300), (10, 4_000_000), (600, 600)], ids=str)
def test_the_work_is_bounded(shape):
    class Recorder(nn.Module):
        """Finds nothing and notes how much it is given to look at."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.pixels: list[int] = []

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            self.pixels.append(x.shape[0] * x.shape[2] * x.shape[3])
            count = len(anchors(*x.shape[2:]))
            return tuple(torch.zeros(len(x), count, n) for n in (4, 2, 10))

    recorder = Recorder()
    image = np.zeros((*shape, 3), np.uint8)
    assert find(recorder, image) == [[]]
    assert max(recorder.pixels) <= 1.02 * FINE_PIXELS
    height, width = padded_shape(image)
    assert max(recorder.pixels) >= min(0.98 * FINE_PIXELS, height * width)
    assert sum(recorder.pixels) <= 1.4 * FINE_PIXELS
