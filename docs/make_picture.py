"""``python docs/make_picture.py``: the README's picture, by the bundled weights.

The astronaut (NASA, public domain; from scikit-image) degraded, restored, and as she was.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import skimage
from PIL import Image

from app.faces.pipeline import find, finish
from app.faces.restore import restore_all
from app.imaging.photo import Pixels
from app.options import EnhanceOptions
from app.serving.load import load
from app.settings import Settings

BLUR, SHRINK, NOISE, QUALITY = 1.0, 1.6, 12, 55
CROP = np.s_[0:250, 105:355]
SIDE = 420


def degraded(photo: Pixels) -> Pixels:
    height, width = photo.shape[:2]
    small = cv2.resize(
        cv2.GaussianBlur(photo, (0, 0), BLUR),
        (round(width / SHRINK), round(height / SHRINK)),
        interpolation=cv2.INTER_AREA,
    )
    noisy = small + np.random.default_rng(0).normal(0, NOISE, small.shape)
    buffer = BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(buffer).resize((width, height), Image.Resampling.BICUBIC))


def restored(photo: Pixels) -> Pixels:
    settings, options = Settings(model="gpen-starter-256"), EnhanceOptions()
    loaded = load(settings)
    buffer = BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    found = find(buffer.getvalue(), options, settings.limits, loaded.detector, loaded.restorer)
    crops = restore_all(loaded.restorer, found.crops, loaded.max_batch)
    return np.asarray(Image.open(BytesIO(finish(found, crops, options).picture.data)))


def main() -> None:
    folder = Path(skimage.__file__).parent / "data"
    original = np.asarray(Image.open(folder / "astronaut.png").convert("RGB"))
    low = degraded(original)
    columns = [
        cv2.resize(picture[CROP], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for picture in (low, restored(low), original)
    ]
    Image.fromarray(np.hstack(columns)).save(Path(__file__).parent / "astronaut.png")


if __name__ == "__main__":
    main()
