"""``python -m model.evaluate``: scores of a generator on a folder of aligned faces.

Defined once: faces at the network's size (area), 8-bit RGB, face i of the sorted folder degraded by
the gpen recipe with seed i, mean of per-picture values.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from model.dataset import evaluation_pairs, find_faces, read_faces, split_holdout, to_tensor
from model.metrics import Scores, score, to_levels
from model.weights import load_generator


@torch.inference_mode()
def restore_all(generator: nn.Module, low: Tensor, batch_size: int) -> Tensor:
    """Restore (N, 3, R, R) in [-1, 1], a batch at a time; same shape, clamped."""
    restored = [
        generator(chunk.contiguous(memory_format=torch.channels_last)).clamp(-1, 1)
        for chunk in low.split(batch_size)
    ]
    return torch.cat(restored)


def save_grid(path: Path, *columns: Tensor) -> None:
    """Write a PNG: one row per picture, one column per (N, 3, R, R) in [-1, 1]."""
    rows = torch.cat([to_levels(column) for column in columns], dim=3)  # (N, 3, R, columns * R)
    picture = rows.permute(0, 2, 3, 1).flatten(0, 1).byte().numpy()  # (N * R, columns * R, 3)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def evaluate(
    weights: Path,
    high_folder: Path,
    low_folder: Path | None,
    holdout: Path | None,
    grid: Path | None,
) -> dict[str, Scores]:
    """Scores of the degraded pictures and of the restored ones."""
    generator, _ = load_generator(weights)
    paths = find_faces(high_folder) if holdout is None else split_holdout(high_folder, holdout)[1]
    faces = read_faces(paths, generator.size)
    if low_folder is None:
        low, high = evaluation_pairs(faces)
    else:
        low = _tensors(read_faces(find_faces(low_folder), generator.size))
        high = _tensors(faces)
        if len(low) != len(high):
            raise ValueError(f"{len(low)} pictures in {low_folder}, {len(high)} in {high_folder}")
    restored = restore_all(generator, low, 8)
    if grid is not None:
        save_grid(grid, low, restored, high)
    return {"degraded": score(low, high), "restored": score(restored, high)}


def _tensors(faces: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    return torch.stack([to_tensor(face.astype(np.float32) / np.float32(255)) for face in faces])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--hq", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument("--lq", type=Path, help="their degraded halves, under the same names")
    parser.add_argument("--holdout", type=Path, help="list of the faces in --hq to look at")
    parser.add_argument("--json", type=Path, help="write the scores here too")
    parser.add_argument("--grid", type=Path, help="write a picture: LQ | restored | HQ")
    options = parser.parse_args(arguments)
    results = evaluate(options.weights, options.hq, options.lq, options.holdout, options.grid)
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
