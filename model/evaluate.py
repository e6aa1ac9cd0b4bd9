"""``python -m model.evaluate``: scores of a generator on a folder of aligned faces.

Faces are resized (area) to the network's size, in 8-bit RGB; face i of the sorted folder is
degraded by the gpen recipe with seed i, unless degraded faces are given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import torch
from torch import Tensor

from model.dataset import (
    evaluation_pairs,
    find_faces,
    read_face,
    read_faces,
    split_holdout,
    to_float,
    to_tensor,
)
from model.metrics import Scores, score, to_levels
from model.weights import load_generator

_BATCH_SIZE = 8


@torch.inference_mode()
def restore_all(generate: Callable[[Tensor], Tensor], low: Tensor, batch_size: int) -> Tensor:
    """Restore (N, 3, R, R) in [-1, 1], a batch at a time; same shape, clamped."""
    restored = [
        generate(chunk.contiguous(memory_format=torch.channels_last)).clamp(-1, 1)
        for chunk in torch.split(low, batch_size)
    ]
    return torch.cat(restored)


def save_grid(path: Path, *columns: Tensor) -> None:
    """Write one picture: a row per face, a column per (N, 3, R, R) in [-1, 1].  Raises OSError."""
    rows = torch.cat([to_levels(column) for column in columns], dim=3)  # (N, 3, R, columns * R)
    picture = rows.permute(0, 2, 3, 1).flatten(0, 1).byte().numpy()  # (N * R, columns * R, 3)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} cannot be written")


def read_pairs(
    low_folder: Path, high_folder: Path, high_paths: list[Path], size: int
) -> tuple[Tensor, Tensor]:
    """Degraded faces and the given ones of ``high_folder``: each (N, 3, R, R) in [-1, 1].

    Halves of a pair have the same path in their folders, suffixes aside.  Raises FileNotFoundError
    where one has no counterpart, ValueError where one cannot be used.
    """
    low_paths = {
        path.relative_to(low_folder).with_suffix(""): path for path in find_faces(low_folder)
    }
    pairs = []
    for high in high_paths:
        low = low_paths.get(high.relative_to(high_folder).with_suffix(""))
        if low is None:
            raise FileNotFoundError(f"{high} has no counterpart in {low_folder}")
        pairs.append([to_tensor(to_float(read_face(path, size))) for path in (low, high)])
    low_faces, high_faces = zip(*pairs, strict=True)
    return torch.stack(low_faces), torch.stack(high_faces)


def evaluate(
    weights: Path,
    high_folder: Path,
    low_folder: Path | None,
    holdout: Path | None,
    grid: Path | None,
) -> dict[str, Scores]:
    """Scores of the degraded pictures and of the restored ones.

    ``holdout`` restricts ``high_folder`` to the faces it lists; ``grid`` is a picture to write.
    Raises OSError or ValueError for files that are not there or cannot be used.
    """
    generator, _ = load_generator(weights)
    paths = find_faces(high_folder) if holdout is None else split_holdout(high_folder, holdout)[1]
    if low_folder is None:
        low, high = evaluation_pairs(read_faces(paths, generator.size))
    else:
        low, high = read_pairs(low_folder, high_folder, paths, generator.size)
    restored = restore_all(generator, low, _BATCH_SIZE)
    if grid is not None:
        save_grid(grid, low, restored, high)
    return {"degraded": score(low, high), "restored": score(restored, high)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--hq", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument(
        "--lq", type=Path, help="folder of their degraded halves, under the same names"
    )
    parser.add_argument("--holdout", type=Path, help="list of the faces in --hq to look at")
    parser.add_argument("--json", type=Path, help="write the scores here too")
    parser.add_argument("--grid", type=Path, help="write a picture: LQ | restored | HQ")
    options = parser.parse_args(arguments)
    try:
        results = evaluate(options.weights, options.hq, options.lq, options.holdout, options.grid)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for name, scores in results.items():
        print(
            f"{name:10} PSNR {scores.psnr:6.2f} dB  SSIM {scores.ssim:.4f}  "
            f"sharpness {scores.sharpness:.2f}"
        )
    if options.json:
        report = {name: scores.as_dict() for name, scores in results.items()}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
