"""Cropping a face so that eyes, nose and mouth lie where the network expects them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.photo import Levels

Matrix = NDArray[np.float64]
"""(2, 3): an affine map of pixel coordinates (x, y), in which pixel centres are integers."""


@dataclass(frozen=True)
class AlignedFace:
    crop: Levels
    """(size, size, 3), in the photo's depth and colour space."""
    matrix: Matrix
    """The map from the photo to the crop."""

    @property
    def scale(self) -> float:
        """How much larger the face is in the crop than in the photo."""
        return scale_of(self.matrix)

    def overhang(self, width: int, height: int) -> float:
        """How far the crop reaches beyond the photo of this size, in pixels of the crop."""
        size = self.crop.shape[0]
        ends = (-0.5, size - 0.5)
        corners = np.array([(x, y, 1) for x in ends for y in ends]) @ invert(self.matrix).T
        beyond = np.maximum(-0.5 - corners, corners - (width - 0.5, height - 0.5))
        return max(0.0, float(beyond.max())) * self.scale


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> Matrix:
    """The rotation, uniform scale and shift that bring (N, 2) source points nearest to the target.

    Least squares in closed form: with points as complex numbers, a similarity is z -> a z + b.
    Raises ValueError if all source points coincide.
    """
    z = source[:, 0] + 1j * source[:, 1].astype(np.float64)
    w = target[:, 0] + 1j * target[:, 1].astype(np.float64)
    centred = z - z.mean()
    spread = np.vdot(centred, centred).real
    if not spread > 0:
        raise ValueError("a similarity needs at least two different points")
    a = np.vdot(centred, w - w.mean()) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(
    photo: Levels, landmarks: NDArray[np.floating], template: NDArray[np.floating], size: int
) -> AlignedFace:
    """Crop a face so that its (5, 2) landmarks fall onto the (5, 2) template.

    Where the crop reaches beyond the photo, it shows the photo's mirror image.
    """
    matrix = similarity(landmarks, template)
    crop = warp(photo, matrix, (size, size), border=cv2.BORDER_REFLECT_101)
    return AlignedFace(crop, matrix)


def warp(image: Levels, matrix: Matrix, size: tuple[int, int], *, border: int) -> Levels:
    """Warp an image by a similarity; ``size`` is the result's (width, height) in pixels.

    Shrinking first averages over areas, because bilinear sampling alone would alias; enlarging is
    bicubic.  ``border`` is one of OpenCV's border modes.
    """
    scale = scale_of(matrix)
    region, to_region = _region(image, matrix, size, min(scale, 1.0))
    return np.asarray(
        cv2.warpAffine(
            region,
            compose(matrix, invert(to_region)),
            size,
            flags=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR,
            borderMode=border,
        )
    )


def _region(
    image: Levels, matrix: Matrix, size: tuple[int, int], scale: float
) -> tuple[Levels, Matrix]:
    """The part of the image that the result shows, shrunk to ``scale``, and the map onto it.

    OpenCV cannot warp pictures of 32767 pixels a side, but it can warp a part of one.
    """
    width, height = image.shape[1], image.shape[0]
    x0, y0, x1, y1 = bounds(invert(matrix), size, width, height, margin=4 / scale)
    part = image[y0:y1, x0:x1]
    to_part = np.array([[1.0, 0, -x0], [0, 1, -y0]])
    if scale == 1:
        return part, to_part
    width, height = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    shrunk = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    fx, fy = width / (x1 - x0), height / (y1 - y0)
    to_shrunk = np.array([[fx, 0, fx / 2 - 0.5], [0, fy, fy / 2 - 0.5]])
    return np.asarray(shrunk), compose(to_shrunk, to_part)


def rescaled(points: NDArray[np.floating], scale: float) -> NDArray[np.float64]:
    """Where (N, 2) points of a picture lie in the same picture ``scale`` times larger.

    Pixel centres are integers at both scales, so the picture's border lies at -0.5.
    """
    return np.asarray((points + 0.5) * scale - 0.5, dtype=np.float64)


def bounds(
    matrix: Matrix, size: tuple[int, int], width: int, height: int, margin: float = 0
) -> tuple[int, int, int, int]:
    """The box x0, y0, x1, y1 (exclusive) around what the matrix maps a ``size`` rectangle onto.

    ``size`` is (width, height).  The box is clipped to a picture of ``width`` x ``height`` and
    holds at least one of its pixels.
    """
    right, bottom = size[0] - 0.5, size[1] - 0.5
    corners = np.array([[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]])
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    x0, y0 = np.floor(moved.min(axis=0) - margin)
    x1, y1 = np.ceil(moved.max(axis=0) + margin) + 1
    left, top = int(np.clip(x0, 0, width - 1)), int(np.clip(y0, 0, height - 1))
    return left, top, int(np.clip(x1, left + 1, width)), int(np.clip(y1, top + 1, height))


def scale_of(matrix: Matrix) -> float:
    """The scale of a similarity."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def invert(matrix: Matrix) -> Matrix:
    """The inverse of an affine map."""
    return np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float64)


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """The map x -> outer(inner(x))."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])
