"""``python -m model.evaluate``: scores of a generator on a folder of aligned faces.

The evaluation is the same whatever the network's size.  Faces are resized to ``--size``, which is
256 px unless given, in 8-bit RGB; face i of the sorted folder is degraded by the gpen recipe with
seed i, unless degraded faces are given; what a network of another size makes of it is resized to
``--size``.  Scores of different sizes cannot be compared.  They are means over faces, of sharpness
the median.  Where faces lie in several folders under --hq, each folder has a table of its own
beside that of all.

Whether it is still the same person is measured by dlib's face recognition, where the extra
[evaluate] is installed.  ``perceptual`` is the distance of features of EfficientNet-lite1, on which
nothing is trained.  LPIPS, identity and FID are measured where their networks' weights are given.

NIQE, and whether the detector finds the face, are measured of the originals, too: without those to
compare with they say little.  A face that is not found counts as 1 in ``landmarks``; originals in
which none is found are left out of it.
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
from model.data.dataset import evaluation_pair, find_faces, split_holdout, to_tensors
from model.data.pictures import read_face
from model.evaluation.grid import make_grid, save_picture
from model.evaluation.landmarks import face_found, landmark_error
from model.evaluation.metrics import Distance, Measure, look_at_each, score_each, to_levels
from model.evaluation.niqe import niqe
from model.evaluation.perceptual import Fid, load_distances, load_fid
from model.evaluation.recognition import load_recognition
from model.evaluation.report import Evaluation, table, write_csv
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


def load_measures(
    lpips_weights: Path | None,
    identity_weights: Path | None,
    fid_weights: Path | None,
    device: torch.device,
) -> Measures:
    """NIQE and landmarks, and what weights are given or packages installed for.

    Raises WeightsError, DetectorError.
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
        return {}  # the table says so


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


def degraded_pairs(
    folder: Path, paths: Iterable[Path], margin: float = 0.0, size: int = EVALUATION_SIZE
) -> Iterator[Pair]:
    """Faces degraded on the fly; those that cannot be used are logged and left out, uncounted."""
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
        pair = np.stack([read_face(half, size, margin) for half in halves])
        yield Pair(str(path.relative_to(folder)), *to_tensors(pair))


def evaluate(
    weights: Path,
    pairs: Iterator[Pair],
    measures: Measures,
    device: torch.device,
    total: int | None = None,
) -> Evaluation:
    """Scores of degraded and restored faces, at the size of ``pairs``.

    Raises OSError or ValueError, as ``pairs`` does.
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
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to less than 1")
    return margin


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument(
        "--weights", type=Path, required=True, help="a file, or a name of `gpen weights list`"
    )
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
    parser.add_argument(
        "--size",
        type=int,
        choices=_SIZES,
        default=EVALUATION_SIZE,
        help="pixels at which faces are compared (default: 256)",
    )
    parser.add_argument("--holdout", type=Path, help="list of the faces in --hq to look at")
    parser.add_argument("--json", type=Path, help="write the scores here too")
    parser.add_argument("--csv", type=Path, help="write the scores of every face")
    parser.add_argument(
        "--grid", type=Path, help="write a picture of the first faces: LQ | restored | HQ"
    )
    parser.add_argument("--lpips-weights", type=Path, help="vgg16-397923af.pth or vgg16-imagenet")
    parser.add_argument(
        "--identity-weights", type=Path, help="model_ir_se50.pth or arcface-ir-se50"
    )
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
