"""``python -m model.degrade``: pairs of low- and high-quality faces, as pictures.

Writes ``OUTPUT/lq/NAME.png`` and ``OUTPUT/hq/NAME.png`` for every square picture of a folder; face
i of the sorted folder is degraded with the seed (SEED, i).  What cannot be read is left out, and
listed at the end.  Trained on with ``python -m model.train --data OUTPUT``.
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
    """Write the pairs of ``source``; returns why some pictures were left out.

    Raises OSError or ValueError for folders that cannot be used, and if no pair was written.
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
        raise ValueError(f"none of {len(skipped)} pictures can be used, such as: {skipped[0]}")
    return skipped


def _targets(source: Path, output: Path) -> dict[Path, Path]:
    """The pictures of ``source``, and under which name their halves are written."""
    from_, to = source.resolve(), output.resolve()
    if to.is_relative_to(from_) or any(from_.is_relative_to(to / half) for half in (LOW, HIGH)):
        raise ValueError(f"pairs in {output} would get among the faces of {source}")
    targets: dict[Path, Path] = {}
    names: dict[Path, Path] = {}
    for path in find_faces(source):
        name = path.relative_to(source).with_suffix(".png")
        if name in names:
            raise ValueError(f"{path} and {names[name]} would both be written as {name}")
        names[name] = path
        targets[path] = name
    return targets


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) RGB.  Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} cannot be written")


def _at_least(lowest: int, text: str) -> int:
    if not text.isdecimal() or int(text) < lowest:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {lowest} on")
    return int(text)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.degrade", description=__doc__)
    parser.add_argument("--hq", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument("--output", type=Path, required=True, help="folder for lq/ and hq/")
    parser.add_argument("--recipe", choices=RECIPES, default="gpen")
    parser.add_argument("--seed", type=partial(_at_least, 0), default=0)
    parser.add_argument(
        "--size", type=partial(_at_least, 1), help="of the pictures (default: their own)"
    )
    options = parser.parse_args(arguments)
    try:
        skipped = make_pairs(
            options.hq, options.output, RECIPES[options.recipe], options.seed, options.size
        )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if skipped:
        print(f"left out {len(skipped)}:", *skipped, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
