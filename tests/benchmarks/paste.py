"""``python -m tests.benchmarks.paste``: pasting faces, against facexlib's FaceRestoreHelper.

Both paste the same 512 px crops into the same 12 megapixel photo in one run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

import model.torchvision_compat  # noqa: F401  (before facexlib)
from app.faces.align import AlignedFace, align
from app.faces.paste import paste
from model.checkpoints.templates import landmark_template

from facexlib.utils.face_restoration_helper import FaceRestoreHelper  # isort: skip

SIZE = 512
WIDTH, HEIGHT = 5312, 2272  # four times the Solvay photo: 12 megapixels
FACE_SCALE = 0.75  # crop pixels -> photo pixels: heads as large as in that photo


@dataclass(frozen=True)
class Timing:
    """Seconds, best of the runs."""

    ours: float
    published: float

    @property
    def ratio(self) -> float:
        return self.published / self.ours


def measure(count: int, runs: int) -> Timing:
    """Time pasting ``count`` faces."""
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    faces = _faces(photo, count)
    crops, template = [face.crop for face in faces], landmark_template("gpen", SIZE)
    helper = _published(photo, faces)
    return Timing(
        ours=_best(lambda: paste(photo, faces, crops, template), runs),
        published=_best(helper.paste_faces_to_input_image, runs),
    )


def _faces(photo: NDArray[np.uint8], count: int) -> list[AlignedFace]:
    template = landmark_template("gpen", SIZE)
    rng = np.random.default_rng(1)
    faces = []
    for i in range(count):
        centre = np.array([300 + i % 10 * 500, 400 + i // 10 * 700])
        angle, scale = rng.normal(0, 0.2), FACE_SCALE * rng.uniform(0.8, 1.2)
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        landmarks = (template - SIZE / 2) @ np.array([[c, s], [-s, c]]) + centre
        faces.append(align(photo, landmarks, template, SIZE))
    return faces


def _published(photo: NDArray[np.uint8], faces: list[AlignedFace]) -> FaceRestoreHelper:
    helper = FaceRestoreHelper.__new__(FaceRestoreHelper)  # its constructor downloads networks
    helper.input_img, helper.upscale_factor = photo, 1
    helper.use_parse, helper.face_size = False, (SIZE, SIZE)
    helper.restored_faces = [face.crop for face in faces]
    helper.inverse_affine_matrices = [cv2.invertAffineTransform(face.matrix) for face in faces]
    return helper


def _best(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=29)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    timing = measure(options.faces, options.runs)
    sys.stdout.write(
        f"{options.faces} faces into {WIDTH}x{HEIGHT}: ours {timing.ours * 1000:.0f} ms, "
        f"facexlib {timing.published * 1000:.0f} ms, ratio {timing.ratio:.0f}\n"
    )


if __name__ == "__main__":
    main()
