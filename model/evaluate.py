"""``python -m model.evaluate``: scores of a generator on a folder of aligned faces.

The evaluation is one, whatever the network's size.  Faces are resized (area) to 256 px, in 8-bit
RGB; face i of the sorted folder is degraded by the gpen recipe with seed i, unless degraded faces
are given; what a network of another size makes of it is resized to 256 px; scores are means over
faces.  LPIPS, identity and FID are measured where their networks' weights are given.

NIQE, and whether the detector finds the face, are measured of the originals, too: without those to
compare with they say little.  A face that is not found counts as 1 in ``landmarks``; originals in
which none is found are left out of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from model.checkpoints import BUNDLED_DIR, DETECTOR_MOBILENET
from model.dataset import evaluation_pair, find_faces, split_holdout, to_tensors
from model.grid import Levels, make_grid, save_picture
from model.landmarks import face_found, landmark_error
from model.metrics import (
    Appearance,
    Distance,
    Measure,
    Scores,
    look_at_each,
    score_each,
    summarise,
    to_levels,
)
from model.niqe import niqe
from model.perceptual import Fid, load_distances, load_fid
from model.pictures import read_face
from model.retinaface import load_detector
from model.weights import load_generator

log = logging.getLogger(__name__)

EVALUATION_SIZE = 256
_BATCH_SIZE = 8
_GRID_ROWS = 16


class Pair(NamedTuple):
    name: str
    low: Tensor
    """This and the next (3, R, R) in [-1, 1]."""
    high: Tensor


@dataclass(frozen=True)
class Measures:
    """What is measured beside PSNR, SSIM and sharpness."""

    distances: dict[str, Distance] = field(default_factory=dict)
    fid: dict[str, Fid] = field(default_factory=dict)
    """Of degraded and of restored faces."""
    alone: dict[str, Measure] = field(default_factory=dict)
    """Of each picture by itself."""


@dataclass(frozen=True)
class Evaluation:
    names: list[str] = field(default_factory=list)
    """Of the faces, relative to their folder; in the order of the scores."""
    scores: dict[str, list[Scores]] = field(
        default_factory=lambda: {"degraded": [], "restored": []}
    )
    appearances: dict[str, list[Appearance]] = field(
        default_factory=lambda: {"degraded": [], "restored": [], "original": []}
    )
    fid: dict[str, float] = field(default_factory=dict)
    grid: list[Levels] = field(default_factory=list)
    """LQ | restored | HQ of the first faces."""

    def summaries(self) -> dict[str, dict[str, float]]:
        """Of degraded, restored and original faces: what was measured, for JSON."""
        summaries = {}
        for name, appearances in self.appearances.items():
            summary = summarise(self.scores[name]).as_dict() if name in self.scores else {}
            summary |= summarise(appearances).as_dict()
            summaries[name] = summary | ({"fid": self.fid[name]} if name in self.fid else {})
        return {name: summary for name, summary in summaries.items() if summary}


def load_measures(
    lpips_weights: Path | None,
    identity_weights: Path | None,
    fid_weights: Path | None,
    device: torch.device,
) -> Measures:
    """NIQE and landmarks, and what weights are given for.  Raises WeightsError, DetectorError."""
    detector = load_detector(BUNDLED_DIR / DETECTOR_MOBILENET.file_name).to(device)
    distances = load_distances(lpips_weights, identity_weights, device)
    return Measures(
        distances | {"landmarks": partial(landmark_error, detector)},
        load_fid(fid_weights, device),
        {"niqe": niqe, "found": partial(face_found, detector)},
    )


@torch.inference_mode()
def restore_all(
    generate: Callable[[Tensor], Tensor],
    low: Tensor,
    batch_size: int,
    device: torch.device | None = None,
) -> Tensor:
    """Restore (N, 3, R, R) in [-1, 1], a batch at a time; same shape and device, clamped."""
    restored = [
        generate(chunk.to(device).contiguous(memory_format=torch.channels_last)).clamp(-1, 1)
        for chunk in torch.split(low, batch_size)
    ]
    return torch.cat([chunk.to(low.device) for chunk in restored])


def resize(x: Tensor, size: int) -> Tensor:
    """(N, 3, R, R) in [-1, 1] -> (N, 3, size, size): area when smaller, bicubic when larger."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] > size:
        return F.interpolate(x, (size, size), mode="area")
    return F.interpolate(x, (size, size), mode="bicubic", align_corners=False).clamp(-1, 1)


def degraded_pairs(folder: Path, paths: Iterable[Path], margin: float = 0.0) -> Iterator[Pair]:
    """Faces degraded on the fly; those that cannot be used are logged and left out, uncounted."""
    index = 0
    for path in paths:
        try:
            face = read_face(path, EVALUATION_SIZE, margin)
        except ValueError as error:
            log.warning("skipped: %s", error)
            continue
        yield Pair(str(path.relative_to(folder)), *to_tensors(evaluation_pair(face, index)))
        index += 1


def given_pairs(
    low_folder: Path, folder: Path, paths: list[Path], margin: float = 0.0
) -> Iterator[Pair]:
    """Faces of ``folder`` and their degraded halves: the same paths, suffixes aside.

    Raises FileNotFoundError where one has no counterpart, ValueError where one cannot be used.
    """
    low_paths = {
        path.relative_to(low_folder).with_suffix(""): path for path in find_faces(low_folder)
    }
    for path in paths:
        if path.relative_to(folder).with_suffix("") not in low_paths:
            raise FileNotFoundError(f"{path} has no counterpart in {low_folder}")
    for path in paths:
        halves = low_paths[path.relative_to(folder).with_suffix("")], path
        pair = np.stack([read_face(half, EVALUATION_SIZE, margin) for half in halves])
        yield Pair(str(path.relative_to(folder)), *to_tensors(pair))


def evaluate(
    weights: Path,
    pairs: Iterator[Pair],
    measures: Measures,
    device: torch.device,
    total: int | None = None,
) -> Evaluation:
    """Scores of degraded and restored faces.  Raises OSError or ValueError, as ``pairs`` does."""
    generator, _ = load_generator(weights)
    generator.to(device)
    evaluation = Evaluation()
    with tqdm(total=total, unit="face", dynamic_ncols=True, disable=None) as progress:
        while batch := list(islice(pairs, _BATCH_SIZE)):
            low = torch.stack([pair.low for pair in batch]).to(device)
            high = torch.stack([pair.high for pair in batch]).to(device)
            restored = restore_all(generator, resize(low, generator.size), _BATCH_SIZE)
            if not restored.isfinite().all():
                raise ValueError(f"{weights}: the network's output is not finite")
            restored = resize(restored, EVALUATION_SIZE)
            evaluation.names.extend(pair.name for pair in batch)
            for name, faces in (("degraded", low), ("restored", restored)):
                evaluation.scores[name] += score_each(faces, high, measures.distances)
                if name in measures.fid:
                    measures.fid[name].update(to_levels(high).byte(), real=True)
                    measures.fid[name].update(to_levels(faces).byte(), real=False)
            for name, faces in (("degraded", low), ("restored", restored), ("original", high)):
                evaluation.appearances[name] += look_at_each(faces, measures.alone)
            if len(evaluation.grid) * _BATCH_SIZE < _GRID_ROWS:
                evaluation.grid.append(make_grid(low, restored, high))
            progress.update(len(batch))
    if not evaluation.names:
        raise ValueError("none of the pictures can be used")
    evaluation.fid.update({name: fid.compute().item() for name, fid in measures.fid.items()})
    return evaluation


def table(evaluation: Evaluation) -> str:
    """The scores, for people; what was not measured is said, and not guessed."""
    lines = []
    for name, summary in evaluation.summaries().items():
        columns = [_column(key, value) for key, value in summary.items()]
        lines.append(f"{name:10} {'  '.join(columns)}")
    measured = evaluation.summaries()["restored"]
    missing = [name for name in ("lpips", "identity", "fid") if name not in measured]
    if missing:
        options = ", ".join(f"--{name}-weights" for name in missing)
        lines.append(f"not measured, as their networks' weights were not given ({options})")
    return "\n".join(lines)


def _column(key: str, value: float) -> str:
    if key == "psnr":
        return f"PSNR {value:6.2f} dB"
    if key == "ssim":
        return f"SSIM {value:.4f}"
    return f"{key} {value:.4g}"


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """A row per face: its name, and what was measured of each picture.  Raises OSError."""
    columns = [
        f"{when}_{key}"
        for when, summary in evaluation.summaries().items()
        for key in summary
        if key != "fid"  # which is of all faces together
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["face", *columns])
        writer.writeheader()
        for i, name in enumerate(evaluation.names):
            measured = {
                f"{when}_{key}": value
                for when, appearances in evaluation.appearances.items()
                for each in (*evaluation.scores.get(when, [])[i : i + 1], appearances[i])
                for key, value in each.as_dict().items()
            }
            writer.writerow({"face": name} | measured)


def _margin(text: str) -> float:
    margin = float(text)
    if not 0 <= margin < 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to less than 1")
    return margin


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--hq", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument(
        "--lq", type=Path, help="folder of their degraded halves, under the same names"
    )
    parser.add_argument(
        "--margin",
        type=_margin,
        default=0.0,
        metavar="SHARE",
        help="of picture around the crop on each side, in crop widths, which is left out",
    )
    parser.add_argument("--holdout", type=Path, help="list of the faces in --hq to look at")
    parser.add_argument("--json", type=Path, help="write the scores here too")
    parser.add_argument("--csv", type=Path, help="write the scores of every face")
    parser.add_argument("--grid", type=Path, help="write a picture: LQ | restored | HQ")
    parser.add_argument("--lpips-weights", type=Path, help="torchvision's vgg16-397923af.pth")
    parser.add_argument("--identity-weights", type=Path, help="GPEN's model_ir_se50.pth")
    parser.add_argument("--fid-weights", type=Path, help="torch-fidelity's Inception weights")
    parser.add_argument("--device", help="cpu, cuda, cuda:N (default: a GPU where there is one)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if options.holdout is None:
            paths = find_faces(options.hq)
        else:
            paths = split_holdout(options.hq, options.holdout)[1]
        if options.lq is None:
            pairs = degraded_pairs(options.hq, paths, options.margin)
        else:
            pairs = given_pairs(options.lq, options.hq, paths, options.margin)
        measures = load_measures(
            options.lpips_weights, options.identity_weights, options.fid_weights, device
        )
        evaluation = evaluate(options.weights, pairs, measures, device, len(paths))
        if options.json:
            options.json.write_text(json.dumps(evaluation.summaries(), indent=2) + "\n")
        if options.csv:
            write_csv(options.csv, evaluation)
        if options.grid:
            save_picture(options.grid, np.concatenate(evaluation.grid))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(table(evaluation))


if __name__ == "__main__":
    main()
