"""``python -m model.evaluate``: score a generator on a folder of aligned faces.

The evaluation is the same for networks of all sizes.  Faces are resized (area) to ``--size``, which
is 256 px by default, in 8-bit RGB.  Face i of the sorted folder is degraded by the gpen recipe with
seed i, unless degraded faces are given.  The result of a network of another size is resized to
``--size``.  Scores of different sizes cannot be compared.  Scores are means over faces; sharpness
is the median.  If the faces are in several folders under --hq, each folder gets a table beside the
table of all faces.

dlib's face recognition measures whether the person is the same, if the extra [evaluate] is
installed.  ``perceptual`` is the distance between features of EfficientNet-lite1, which is not used
for training.  LPIPS, identity and FID are measured if the weights of their networks are given.

NIQE, and whether the detector finds the face, are measured on the originals as well, because they
say little without that comparison.  In ``landmarks``, a restored face that is not found counts as
1, and originals in which no face is found are left out.
"""

from __future__ import annotations

import argparse
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

from model.checkpoints.generator import load_generator
from model.checkpoints.named import weights_file
from model.checkpoints.table import BUNDLED_DIR, DETECTOR_MOBILENET
from model.data.dataset import evaluation_pair, to_tensors
from model.data.pictures import find_faces, read_face, split_holdout
from model.evaluation.grid import make_grid, save_picture
from model.evaluation.landmarks import face_found, landmark_error
from model.evaluation.metrics import Distance, Measure, look_at_each, score_each
from model.evaluation.niqe import niqe
from model.evaluation.perceptual import Fid, load_distances, load_fid
from model.evaluation.recognition import load_recognition
from model.evaluation.report import Evaluation, table, write_csv
from model.levels import to_levels
from model.networks.efficientnet import FeatureDistance, load_features
from model.networks.retinaface import load_detector

log = logging.getLogger(__name__)

EVALUATION_SIZE = 256
"""Pixels at which faces are compared, unless ``--size`` says otherwise."""
_SIZES = (256, 512, 1024)
_BATCH_SIZE = 8
_PIXELS = _BATCH_SIZE * 256**2
"""Of the faces that a network restores at once, which bounds the memory."""


class Pair(NamedTuple):
    """A degraded face and its original."""

    name: str
    low: Tensor
    """(3, R, R) in [-1, 1]."""
    high: Tensor
    """(3, R, R) in [-1, 1]."""


@dataclass(frozen=True)
class Measures:
    """The measures beside PSNR, SSIM and sharpness."""

    distances: dict[str, Distance] = field(default_factory=dict)
    """Comparisons with the original, by their names in Scores."""
    fid: dict[str, Fid] = field(default_factory=dict)
    """FID of ``degraded`` and ``restored`` faces."""
    alone: dict[str, Measure] = field(default_factory=dict)
    """Measures of single pictures, by their names in Appearance."""


def load_measures(
    lpips_weights: Path | None,
    identity_weights: Path | None,
    fid_weights: Path | None,
    device: torch.device,
) -> Measures:
    """NIQE, landmarks, and the measures whose weights are given or whose packages are installed.

    Raises WeightsError.
    """
    detector = load_detector(BUNDLED_DIR / DETECTOR_MOBILENET.file_name).to(device)
    distances = load_distances(lpips_weights, identity_weights, device)
    return Measures(
        distances
        | {"landmarks": partial(landmark_error, detector)}
        | _perceptual(device)
        | load_recognition(),
        load_fid(fid_weights, device),
        {"niqe": niqe, "found": partial(face_found, detector)},
    )


def _perceptual(device: torch.device) -> dict[str, Distance]:
    try:
        return {"perceptual": FeatureDistance(load_features("lite1")).to(device)}
    except ModuleNotFoundError:
        return {}  # the table names what was not measured


@torch.inference_mode()
def restore_all(
    generate: Callable[[Tensor], Tensor],
    low: Tensor,
    batch_size: int,
    device: torch.device | None = None,
) -> Tensor:
    """Restore (N, 3, R, R) in [-1, 1] in batches; returns the same shape and device, clamped."""
    restored = [
        generate(chunk.to(device).contiguous(memory_format=torch.channels_last)).clamp(-1, 1)
        for chunk in torch.split(low, batch_size)
    ]
    return torch.cat([chunk.to(low.device) for chunk in restored])


def resize(x: Tensor, size: int) -> Tensor:
    """(N, 3, R, R) in [-1, 1] -> (N, 3, size, size), by area if smaller and bicubic if larger."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] > size:
        return F.interpolate(x, (size, size), mode="area")
    return F.interpolate(x, (size, size), mode="bicubic", align_corners=False).clamp(-1, 1)


def degraded_pairs(
    folder: Path, paths: Iterable[Path], margin: float = 0.0, size: int = EVALUATION_SIZE
) -> Iterator[Pair]:
    """Faces and their degraded versions, made with the seeds 0, 1, ....

    Faces that cannot be used are logged and skipped, and do not use up a seed.
    """
    index = 0
    for path in paths:
        try:
            face = read_face(path, size, margin)
        except ValueError as error:
            log.warning("skipped: %s", error)
            continue
        yield Pair(str(path.relative_to(folder)), *to_tensors(evaluation_pair(face, index)))
        index += 1


def given_pairs(
    low_folder: Path,
    folder: Path,
    paths: list[Path],
    margin: float = 0.0,
    size: int = EVALUATION_SIZE,
) -> Iterator[Pair]:
    """Faces of ``folder`` and their degraded versions, which may differ in their suffixes.

    Raises FileNotFoundError if a face has no counterpart, and ValueError if one cannot be used.
    """
    low_paths = {
        path.relative_to(low_folder).with_suffix(""): path for path in find_faces(low_folder)
    }
    for path in paths:
        if path.relative_to(folder).with_suffix("") not in low_paths:
            raise FileNotFoundError(f"{path} has no counterpart in {low_folder}")
    for path in paths:
        halves = low_paths[path.relative_to(folder).with_suffix("")], path
        pair = np.stack([read_face(half, size, margin) for half in halves])
        yield Pair(str(path.relative_to(folder)), *to_tensors(pair))


def evaluate(
    weights: Path,
    pairs: Iterator[Pair],
    measures: Measures,
    device: torch.device,
    total: int | None = None,
) -> Evaluation:
    """Score degraded, restored and original faces, at the size of ``pairs``.

    ``total`` is for the progress bar.  Raises OSError and ValueError, also from ``pairs``.
    """
    generator, _ = load_generator(weights)
    generator.to(device)
    at_once = max(1, _PIXELS // generator.size**2)
    evaluation = Evaluation()
    with tqdm(total=total, unit="face", dynamic_ncols=True, disable=None) as progress:
        while batch := list(islice(pairs, _BATCH_SIZE)):
            low = torch.stack([pair.low for pair in batch]).to(device)
            high = torch.stack([pair.high for pair in batch]).to(device)
            restored = restore_all(generator, resize(low, generator.size), at_once)
            if not restored.isfinite().all():
                raise ValueError(f"{weights}: the network's output is not finite")
            restored = resize(restored, low.shape[-1])
            evaluation.names.extend(pair.name for pair in batch)
            for name, faces in (("degraded", low), ("restored", restored)):
                evaluation.scores[name] += score_each(faces, high, measures.distances)
                if name in measures.fid:
                    measures.fid[name].update(to_levels(high).byte(), real=True)
                    measures.fid[name].update(to_levels(faces).byte(), real=False)
            for name, faces in (("degraded", low), ("restored", restored), ("original", high)):
                evaluation.appearances[name] += look_at_each(faces, measures.alone)
            evaluation.add_rows((pair.name for pair in batch), make_grid(low, restored, high))
            progress.update(len(batch))
    if not evaluation.names:
        raise ValueError("none of the pictures can be used")
    evaluation.fid.update({name: fid.compute().item() for name, fid in measures.fid.items()})
    return evaluation


def _margin(text: str) -> float:
    margin = float(text)
    if not 0 <= margin < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0 and less than 1")
    return margin


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument(
        "--weights", type=Path, required=True, help="a file, or a name of `gpen weights list`"
    )
    parser.add_argument("--hq", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument(
        "--lq", type=Path, help="folder of their degraded versions, under the same names"
    )
    parser.add_argument(
        "--margin",
        type=_margin,
        default=0.0,
        metavar="SHARE",
        help="width of the margin around the crop that is cut off, in crop widths (default: 0)",
    )
    parser.add_argument(
        "--size",
        type=int,
        choices=_SIZES,
        default=EVALUATION_SIZE,
        help="pixels at which faces are compared (default: 256)",
    )
    parser.add_argument(
        "--holdout", type=Path, help="file that lists the faces of --hq to evaluate"
    )
    parser.add_argument("--json", type=Path, help="write the scores to this file, too")
    parser.add_argument("--csv", type=Path, help="write the scores of every face to this file")
    parser.add_argument(
        "--grid",
        type=Path,
        help="write a picture of the first faces to this file: LQ | restored | HQ",
    )
    parser.add_argument("--lpips-weights", type=Path, help="vgg16-397923af.pth or vgg16-imagenet")
    parser.add_argument(
        "--identity-weights", type=Path, help="model_ir_se50.pth or arcface-ir-se50"
    )
    parser.add_argument("--fid-weights", type=Path, help="torch-fidelity's Inception weights")
    parser.add_argument("--device", help="cpu, cuda, cuda:N (default: a GPU if there is one)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if options.holdout is None:
            paths = find_faces(options.hq)
        else:
            paths = split_holdout(options.hq, options.holdout)[1]
        if options.lq is None:
            pairs = degraded_pairs(options.hq, paths, options.margin, options.size)
        else:
            pairs = given_pairs(options.lq, options.hq, paths, options.margin, options.size)
        weights = weights_file(options.weights)
        measures = load_measures(
            options.lpips_weights, options.identity_weights, options.fid_weights, device
        )
        evaluation = evaluate(weights, pairs, measures, device, len(paths))
        if options.json:
            options.json.write_text(json.dumps(evaluation.as_json(), indent=2) + "\n")
        if options.csv:
            write_csv(options.csv, evaluation)
        if options.grid:
            save_picture(options.grid, evaluation.picture())
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(table(evaluation))


if __name__ == "__main__":
    main()
