"""Finding the faces of photos of any size.

The network finds faces of about 24 to 500 pixels, and blurred and noisy ones best at 30 to 120; it
finds parts of larger ones.  A picture is therefore searched in octaves: at full size (or reduced to
FINE_PIXELS), then halved until any face in it is small.  Each octave leaves its large faces to the
next.  All octaves after the first together cost a third of it.

Many anchors find the same face, in several octaves.  The candidate with the best score represents
it.  Its box and its landmarks, on which the alignment depends, are means over the candidates that
agree with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.imaging.photo import Pixels
from model.boxes import Floats, area, intersection, sides
from model.networks import retinaface
from model.networks.retinaface import Candidates

FINE_PIXELS = 4_000_000  # maximum size of the first octave, and of a forward pass
COARSE_SIDE = 96  # maximum of the last octave's shorter side, in pixels
LARGEST_FACE = 320  # in pixels of the octave; larger faces are left to the next octave
SAME_FACE = 0.4  # intersection over union from which two boxes are the same face
# Intersection over the smaller area from which a box is a part of a better one: in the first
# octave, where noise is sharp, half of a noisy face may look like a face.
PART_OF_FACE = 0.5


@dataclass(frozen=True, eq=False)
class Face:
    """A face, in pixels of the picture that it was found in.

    ``box``: float32 (4,), x0 y0 x1 y1, inside the picture.  ``landmarks``: float32 (5, 2), x y of
    left eye, right eye, nose, left and right corner of the mouth; left means the picture's left if
    the face is upright.  Landmarks may lie outside the picture.
    """

    box: Floats
    score: float
    landmarks: Floats


@dataclass(frozen=True, eq=False)
class _Octave:
    index: int
    """The picture's index."""
    size: tuple[int, int]
    """The picture's width and height."""
    image: Pixels
    largest_face: float


def detect(
    detector: nn.Module, images: Sequence[Pixels], *, threshold: float, min_face: float
) -> list[list[Face]]:
    """Find the faces of pictures (uint8 RGB, (H, W, 3)); returns a list per picture, largest first.

    ``threshold`` is the minimum score, 0 to 1; ``min_face`` is the minimum of a box's shorter side,
    in pixels of the picture.  A picture's faces do not depend on the other pictures.  Runs on the
    detector's device; keeps no state, so threads may share the detector.
    """
    octaves = [octave for index, image in enumerate(images) for octave in _octaves(index, image)]
    by_octave: list[list[Candidates]] = [[] for _ in images]
    for batch in _batches(octaves):
        runs = retinaface.run(detector, [octave.image for octave in batch], threshold)
        for octave, candidates in zip(batch, runs, strict=True):
            by_octave[octave.index].append(_in_picture(octave, candidates))
    pictures = [Candidates(*map(np.concatenate, zip(*parts, strict=True))) for parts in by_octave]
    return [
        sorted(
            (face for face in _faces(candidates, best) if sides(face.box).min() >= min_face),
            key=lambda face: -area(face.box),
        )
        for candidates, best in zip(pictures, _suppress(pictures), strict=True)
    ]


def _octaves(index: int, image: Pixels) -> Iterator[_Octave]:
    height, width = image.shape[:2]
    reduction = max(
        1.0,
        (height * width / FINE_PIXELS) ** 0.5,
        max(height, width) * retinaface.PADDING / FINE_PIXELS,  # a line of pixels, padded
    )
    while True:
        shape = max(1, round(height / reduction)), max(1, round(width / reduction))
        if shape != image.shape[:2]:
            reduced = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
            image = np.asarray(reduced, np.uint8)
        last = min(shape) <= COARSE_SIDE
        yield _Octave(index, (width, height), image, np.inf if last else LARGEST_FACE)
        if last:
            return
        reduction *= 2


def _batches(octaves: Sequence[_Octave]) -> Iterator[Sequence[_Octave]]:
    """Group octaves of the same padded shape into batches of up to FINE_PIXELS.

    Octaves of different shapes are not padded to a common one, because a picture's faces would then
    depend on the other pictures.
    """

    def shape(octave: _Octave) -> tuple[int, int]:
        return retinaface.padded_shape(octave.image)

    for (height, width), group in groupby(sorted(octaves, key=shape), key=shape):
        batch, limit = list(group), max(1, FINE_PIXELS // (height * width))
        yield from (batch[i : i + limit] for i in range(0, len(batch), limit))


def _in_picture(octave: _Octave, found: Candidates) -> Candidates:
    """Candidates in pixels of the picture, clipped to it, without too large and empty boxes."""
    size = np.array(octave.size, np.float32)
    scale = size / np.array(octave.image.shape[1::-1], np.float32)
    corners, landmarks = found.boxes.reshape(-1, 2, 2) * scale, found.landmarks * scale
    boxes = np.minimum(np.maximum(corners, 0), size).reshape(-1, 4)
    small = sides(found.boxes).min(1) <= octave.largest_face
    valid = small & (sides(boxes).min(1) > 0)
    return Candidates(boxes[valid], found.scores[valid], landmarks[valid])


def _suppress(pictures: Sequence[Candidates]) -> list[NDArray[np.intp]]:
    """Suppress overlapping candidates; returns each picture's remaining indices, best first."""
    counts = [len(candidates.scores) for candidates in pictures]
    picture = np.repeat(np.arange(len(pictures)), counts)
    rectangles = [
        (*box[:2].tolist(), *sides(box).tolist())
        for candidates in pictures
        for box in candidates.boxes
    ]
    scores = [float(score) for candidates in pictures for score in candidates.scores]
    chosen = np.asarray(
        cv2.dnn.NMSBoxesBatched(rectangles, scores, picture.tolist(), 0, SAME_FACE), np.intp
    )
    first = np.cumsum([0, *counts])
    return [chosen[picture[chosen] == i] - first[i] for i in range(len(pictures))]


def _faces(candidates: Candidates, best: NDArray[np.intp]) -> list[Face]:
    """The faces of a picture: the best candidates, each averaged with those that agree with it."""
    faces: list[Face] = []
    for i in best:
        box = candidates.boxes[i]
        if any(
            intersection(box, face.box) > PART_OF_FACE * min(area(box), area(face.box))
            for face in faces
        ):
            continue
        mean_box, landmarks = candidates.voted(int(i))
        faces.append(Face(mean_box, float(candidates.scores[i]), landmarks))
    return faces
