"""Finding the faces of a photo of any size.

The network finds faces of about 24 to 500 pixels, blurred and noisy ones best at 30 to 120, and
takes larger ones to pieces.  So a picture is looked at in octaves: as it is (or reduced to
FINE_PIXELS), then halved until any face in it is small, each octave leaving its large faces to the
next.  All octaves but the first cost a third of the first.

A face is found by many anchors, in several octaves.  The best scored stands for it, its box and
landmarks, which the alignment rests on, being the mean over those that agree.
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

FINE_PIXELS = 4_000_000  # of the first octave, and of a forward pass, at most
COARSE_SIDE = 96  # of the last octave's shorter side, at most
LARGEST_FACE = 320  # pixels of an octave; larger ones are left to the next octave
SAME_FACE = 0.4  # intersection over union from which boxes are one face
# intersection over the smaller of two: the octave that shows every grain of a noisy face may find
# another one in half of it
PART_OF_FACE = 0.5


@dataclass(frozen=True, eq=False)
class Face:
    """A face, in pixels of the picture it was found in.

    ``box``: float32 (4,), x0 y0 x1 y1, inside the picture.  ``landmarks``: float32 (5, 2), left
    eye, right eye, nose, left and right corner of the mouth; left is the picture's left, of an
    upright face; they may lie outside the picture.
    """

    box: Floats
    score: float
    landmarks: Floats


@dataclass(frozen=True, eq=False)
class _Octave:
    index: int
    """Of the picture."""
    size: tuple[int, int]
    """Of the picture: width, height."""
    image: Pixels
    largest_face: float


def detect(
    detector: nn.Module, images: Sequence[Pixels], *, threshold: float, min_face: float
) -> list[list[Face]]:
    """Find the faces of every picture (uint8 RGB, (H, W, 3)); each picture's largest come first.

    ``threshold`` is the least score, in 0...1; ``min_face`` the least length, in pixels of the
    picture, of the shorter side of a box.  What is found in a picture does not depend on the
    others.  Runs where the detector's parameters are; keeps no state, so threads may share it.
    """
    octaves = [octave for index, image in enumerate(images) for octave in _octaves(index, image)]
    found: list[list[Candidates]] = [[] for _ in images]
    for batch in _batches(octaves):
        runs = retinaface.run(detector, [octave.image for octave in batch], threshold)
        for octave, candidates in zip(batch, runs, strict=True):
            found[octave.index].append(_in_picture(octave, candidates))
    pictures = [Candidates(*map(np.concatenate, zip(*parts, strict=True))) for parts in found]
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
    """Octaves of one padded shape, up to FINE_PIXELS together.

    Padding to a common shape instead would let a picture's faces depend on the others.
    """

    def shape(octave: _Octave) -> tuple[int, int]:
        return retinaface.padded_shape(octave.image)

    for (height, width), group in groupby(sorted(octaves, key=shape), key=shape):
        batch, most = list(group), max(1, FINE_PIXELS // (height * width))
        yield from (batch[i : i + most] for i in range(0, len(batch), most))


def _in_picture(octave: _Octave, found: Candidates) -> Candidates:
    """Candidates in pixels of the picture, clipped to it; without the too large and degenerate."""
    size = np.array(octave.size, np.float32)
    scale = size / np.array(octave.image.shape[1::-1], np.float32)
    corners, landmarks = found.boxes.reshape(-1, 2, 2) * scale, found.landmarks * scale
    boxes = np.minimum(np.maximum(corners, 0), size).reshape(-1, 4)
    small = sides(found.boxes).min(1) <= octave.largest_face
    kept = small & (sides(boxes).min(1) > 0)
    return Candidates(boxes[kept], found.scores[kept], landmarks[kept])


def _suppress(pictures: Sequence[Candidates]) -> list[NDArray[np.intp]]:
    """Indices of the candidates of every picture that overlap no better one, the best first."""
    counts = [len(candidates.scores) for candidates in pictures]
    owner = np.repeat(np.arange(len(pictures)), counts)
    rectangles = [
        (*box[:2].tolist(), *sides(box).tolist())
        for candidates in pictures
        for box in candidates.boxes
    ]
    scores = [float(score) for candidates in pictures for score in candidates.scores]
    chosen = np.asarray(
        cv2.dnn.NMSBoxesBatched(rectangles, scores, owner.tolist(), 0, SAME_FACE), np.intp
    )
    first = np.cumsum([0, *counts])
    return [chosen[owner[chosen] == i] - first[i] for i in range(len(pictures))]


def _faces(candidates: Candidates, best: NDArray[np.intp]) -> list[Face]:
    """The faces of a picture: the best candidates, each the mean of those that agree with it."""
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
