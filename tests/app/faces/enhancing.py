"""A photo through the whole pipeline, and what came out."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.faces.pipeline import Enhanced, FoundFaces, find, finish
from app.faces.restore import restore_all
from app.options import EnhanceOptions
from app.serving.load import Loaded
from app.settings import Settings
from tests.hostile.png import MAGIC
from tests.kinds_of_photos import Levels


def mode_and_levels(data: bytes) -> tuple[str, Levels]:
    """Of a result, by OpenCV where it is deep: Pillow would not tell."""
    with Image.open(BytesIO(data)) as image:
        if data.startswith(MAGIC) and data[24] == 16:
            mode = {0: "L", 4: "LA", 2: "RGB", 6: "RGBA"}[data[25]]
            read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert read is not None
            channels = {"L": [0], "LA": [0, 3], "RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3]}[mode]
            return f"{mode};16", read.reshape(*read.shape[:2], -1)[..., channels]
        levels = np.asarray(image)
        return image.mode, levels.reshape(*levels.shape[:2], -1)


def untouched(found: FoundFaces, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels outside of the squares that were cut out."""
    squares = np.zeros((height, width), np.uint8)
    for face in found.aligned:
        side = face.crop.shape[0] - 0.5
        corners = np.array([[[-0.5, -0.5], [side, -0.5], [side, side], [-0.5, side]]])
        there = cv2.transform(corners, cv2.invertAffineTransform(face.matrix))
        cv2.fillConvexPoly(squares, there[0].round().astype(np.int32), 1)
    return np.asarray(cv2.dilate(squares, np.ones((3, 3), np.uint8)) == 0)


def enhanced(data: bytes, loaded: Loaded, **options: Any) -> tuple[FoundFaces, Enhanced]:
    wanted = EnhanceOptions(**options)
    found = find(data, wanted, Settings().limits, loaded.detector, loaded.restorer)
    return found, finish(found, restore_all(loaded.restorer, found.crops, 4), wanted)


def in_png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
