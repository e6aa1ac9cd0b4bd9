"""``python docs/make_sample.py``: the demo page's sample photo.

The astronaut (NASA, public domain; from scikit-image), noisy and compressed hard.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import skimage
from PIL import Image

CROP = np.s_[0:255, 53:393]
SIZE = 720, 540
NOISE, QUALITY = 22, 36


def main() -> None:
    folder = Path(skimage.__file__).parent / "data"
    photo = np.asarray(Image.open(folder / "astronaut.png").convert("RGB"))[CROP]
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, NOISE, photo.shape), 0, 255)
    larger = cv2.resize(noisy.astype(np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    page = Path(__file__).resolve().parent.parent / "app" / "http" / "page" / "static"
    Image.fromarray(np.asarray(larger, dtype=np.uint8)).save(
        page / "sample.jpg", quality=QUALITY, optimize=True
    )


if __name__ == "__main__":
    main()
