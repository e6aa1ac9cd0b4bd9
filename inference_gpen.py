"""Restore a photo: ``python inference_gpen.py [-i PHOTO] [-o FILE]``.

Without arguments a sample photo is restored.  Without ``-o`` the result is written to
``output_<input name>`` in the current folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from app.cli import main
from app.engines.samples import PHOTO

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--input", type=Path, default=PHOTO)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    output = options.output or Path(f"output_{options.input.name}")
    main(["enhance", "--input", str(options.input), "--output", str(output)])
