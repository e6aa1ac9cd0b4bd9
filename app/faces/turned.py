"""Finding the faces of photos that lie on their side or their head, such as scans without EXIF.

The detector finds faces that are tilted by up to about 60 degrees.  It misses most of those on
their side, and takes some that are upside down for upright ones.  Where no face is upright for
sure, a reduced copy of the photo is therefore searched at the three other quarter turns, and then
the photo itself at the best of them.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.faces.detect import Face, detect
from app.faces.landmarks import flaw, turn_of
from app.imaging.photo import Levels, Photo, Pixels
from model.boxes import sides

LOOK_PIXELS = 250_000
"""Maximum size of the reduced copy."""

# Of 306 upright faces, half of them degraded, 8% have a lower score.  None has its mouth nearer to
# its eyes, as a share of the box's height, or a wider mouth, in distances from the eyes to the
# mouth.  Of 450 turned photos, 30 have a face that seems upright, and two of these pass.
_SURE = 0.98
_SHORTEST_FACE = 0.29
_WIDEST_MOUTH = 1.18
_UNSURE = 0.5  # weight of the other faces that seem upright


def detect_turned(
    detector: nn.Module, image: Pixels, *, threshold: float, min_face: float
) -> tuple[int, list[Face]]:
    """Find the faces of a picture at the quarter turn that suits it.

    Returns how many quarter turns counterclockwise make the picture upright (0 to 3), and the faces
    as :func:`app.faces.detect.detect` finds them in the turned picture, in its pixels.
    """

    def faces_of(*images: Pixels, scale: float = 1.0) -> list[list[Face]]:
        return detect(detector, images, threshold=threshold, min_face=min_face * scale)

    (faces,) = faces_of(image)
    if any(flaw(face.landmarks) is None and _is_surely_upright(face) for face in faces):
        return 0, faces
    reduced, scale = _reduced(image)
    looks = faces_of(*(np.rot90(reduced, quarters) for quarters in (1, 2, 3)), scale=scale)
    best = int(np.argmax([_evidence(look) for look in (faces, *looks)]))
    if best:
        (turned,) = faces_of(np.rot90(image, best))
        if _evidence(turned) > _evidence(faces):
            return best, turned
    return 0, faces


def turned_photo(photo: Photo, quarters: int) -> Photo:
    """The photo with its pixels turned counterclockwise by quarter turns."""
    if quarters == 0:
        return photo
    alpha = None if photo.alpha is None else _turned_map(photo.alpha, quarters)
    return replace(photo, pixels=_turned_map(photo.pixels, quarters), alpha=alpha)


def turned_face(face: Face, quarters: int, width: int, height: int) -> Face:
    """A face of a picture of this size, in pixels of the picture turned like :func:`turned_photo`.

    Pixel centres are integers for landmarks, and the picture's border is at 0 for boxes.
    """
    size = np.array([width, height])
    corners = _turned_points(face.box.reshape(2, 2), quarters, size)
    box = np.concatenate([corners.min(0), corners.max(0)])
    return replace(face, box=box, landmarks=_turned_points(face.landmarks, quarters, size - 1))


def _is_upright(face: Face) -> bool:
    """Whether it seems so.  A profile, which is not restored, may be upright, too."""
    return flaw(face.landmarks) != "landmarks" and turn_of(face.landmarks) == 0


def _is_surely_upright(face: Face) -> bool:
    eyes_to_mouth = float(np.linalg.norm(face.landmarks[3:].mean(0) - face.landmarks[:2].mean(0)))
    mouth = float(np.linalg.norm(face.landmarks[4] - face.landmarks[3]))
    return (
        _is_upright(face)
        and face.score >= _SURE
        and eyes_to_mouth >= _SHORTEST_FACE * sides(face.box)[1]
        and mouth <= _WIDEST_MOUTH * eyes_to_mouth
    )


def _evidence(faces: list[Face]) -> float:
    """How much speaks for a picture with these faces being upright."""
    return sum(
        face.score * (1.0 if _is_surely_upright(face) else _UNSURE)
        for face in faces
        if _is_upright(face)
    )


def _reduced(image: Pixels) -> tuple[Pixels, float]:
    """A copy of at most LOOK_PIXELS, and its scale."""
    height, width = image.shape[:2]
    scale = min(1.0, (LOOK_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _turned_map(levels: Levels, quarters: int) -> Levels:
    return np.ascontiguousarray(np.rot90(levels, quarters))


def _turned_points(
    points: NDArray[np.float32], quarters: int, extent: NDArray[np.int_]
) -> NDArray[np.float32]:
    """(N, 2) points of a picture that ends at ``extent``: z -> (-i)^q (z - c) + c'."""
    turned_extent = extent[::-1] if quarters % 2 else extent
    x, y = (points - extent / 2).T
    z = (-1j) ** quarters * (x + 1j * y)
    return (np.stack([z.real, z.imag], axis=1) + turned_extent / 2).astype(np.float32)
