"""``python -m model.degrade``: write pairs of low- and high-quality faces.

For every square picture of a folder, this writes ``OUTPUT/lq/NAME.png`` and ``OUTPUT/hq/NAME.png``.
Face i of the sorted folder is degraded with the seed (SEED, i).  Pictures that cannot be used are
skipped, and listed at the end.  ``python -m model.train --data OUTPUT`` trains on the pairs.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.data.degradation import RECIPES, Recipe, degrade
from model.data.degradation.operations import to_8_bit, to_float
from model.data.pictures import HIGH, LOW, find_faces, read_face


def make_pairs(
    source: Path, output: Path, recipe: Recipe, seed: int, size: int | None = None
) -> list[str]:
    """Write the pairs of ``source``; returns a reason for each picture that was skipped.

    ``size`` is the pictures' side in pixels, by default their own.  Raises OSError or ValueError if
    a folder cannot be used, and ValueError if no pair was written.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is not a folder")
    targets = _targets(source, output)
    skipped = []
    for index, (path, name) in enumerate(
        tqdm(targets.items(), unit="face", dynamic_ncols=True, disable=None)
    ):
        try:
            high = read_face(path, size)
        except ValueError as error:
            skipped.append(str(error))
            continue
        low = degrade(to_float(high), recipe, np.random.default_rng([seed, index]))
        _write(output / LOW / name, to_8_bit(low))
        _write(output / HIGH / name, high)
    if len(skipped) == len(targets):
        raise ValueError(f"none of {len(skipped)} pictures can be used, for example: {skipped[0]}")
    return skipped


def _targets(source: Path, output: Path) -> dict[Path, Path]:
    """The pictures of ``source``, and the relative path that each pair is written under."""
    faces, pairs = source.resolve(), output.resolve()
    if pairs.is_relative_to(faces) or any(
        faces.is_relative_to(pairs / half) for half in (LOW, HIGH)
    ):
        raise ValueError(f"pairs in {output} would be mixed with the faces of {source}")
    sources: dict[Path, Path] = {}
    for path in find_faces(source):
        name = path.relative_to(source).with_suffix(".png")
        if name in sources:
            raise ValueError(f"{path} and {sources[name]} would both be written as {name}")
        sources[name] = path
    return {path: name for name, path in sources.items()}


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) RGB.  Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} cannot be written")


def _at_least(lowest: int, text: str) -> int:
    if not text.isdecimal() or int(text) < lowest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {lowest}")
    return int(text)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.degrade", description=__doc__)
    parser.add_argument("--hq", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument("--output", type=Path, required=True, help="folder for lq/ and hq/")
    parser.add_argument("--recipe", choices=RECIPES, default="gpen")
    parser.add_argument("--seed", type=partial(_at_least, 0), default=0)
    parser.add_argument(
        "--size",
        type=partial(_at_least, 1),
        help="side of the pictures in pixels (default: their own)",
    )
    options = parser.parse_args(arguments)
    try:
        skipped = make_pairs(
            options.hq, options.output, RECIPES[options.recipe], options.seed, options.size
        )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if skipped:
        print(f"skipped {len(skipped)} pictures:", *skipped, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
