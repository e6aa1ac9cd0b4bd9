"""Restore a photo: ``python inference_gpen.py [-i PHOTO] [-o FILE]``.

Without arguments a sample photo is restored.  Without ``-o`` the result is written to
``output_<input name>`` in the current folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import skimage

from app.cli import main

SAMPLE = Path(skimage.__file__).parent / "data" / "astronaut.png"  # NASA, public domain

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--input", type=Path, default=SAMPLE)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    output = options.output or Path(f"output_{options.input.name}")
    main(["enhance", "--input", str(options.input), "--output", str(output)])
