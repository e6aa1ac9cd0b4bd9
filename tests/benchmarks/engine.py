"""``python -m tests.benchmarks.engine``: restoring faces, each engine against the published code.

The same crops through the same random weights, by turns in one run.  Every turn's pictures are
compared with those of PyTorch in float32; a contestant that computes something else ends the run.
On CUDA the contestants are the published formulation and PyTorch in every precision; that is
unmeasured, for want of a card.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from app.engine_names import Precision
from app.engines.engine import Crops
from app.engines.samples import sample_crops
from app.serving.load import choose_devices
from model.networks import Architecture
from tests.benchmarks.contestants import (
    NO_ONNX_RUNTIME,
    ONNX_RUNTIME,
    PUBLISHED,
    REFERENCE,
    Contestant,
    contestants,
    random_generator,
)
from tests.benchmarks.peak import SIDES, gflop_a_face, matrix_product
from tests.benchmarks.report import Machine, add_json, keep, tell
from tests.benchmarks.turns import CALM_S, take_turns
from tests.soak.figures import table

NETWORKS = {
    512: Architecture(512, channel_multiplier=2, narrow=1.0),  # GPEN-BFR-512
    256: Architecture(256, channel_multiplier=1, narrow=0.5),  # GPEN-BFR-256
}
BATCHES = (1, 2, 4, 8)
LEAST_DB: dict[Precision, float] = {"fp32": 55.0, "bf16": 30.0, "fp16": 30.0}
"""Of pictures that come from the same network; rounding to levels alone leaves 60 or more."""
_MOST_DB = 99.0  # of equal pictures
_TURN_S = 1.0


@dataclass(frozen=True)
class Figure:
    """A contestant at a batch."""

    contestant: str
    precision: Precision
    batch: int
    ms: float
    """A face."""
    psnr: float
    """From PyTorch in float32, dB."""
    to_published: float
    """How many times faster a face is done, at the same batch."""
    to_onnx_runtime: float | None
    peak_share: float
    """Of the speed of PyTorch's matrix product in this precision, which some engines exceed."""
    to_alone: float | None
    """Time of a face, relative to that of one alone."""


@dataclass(frozen=True)
class Network:
    """All figures of a network."""

    size: int
    channel_multiplier: int
    narrow: float
    gflop: float
    """A face."""
    peak_gflops: dict[Precision, float]
    """GFLOP/s of a matrix product."""
    figures: list[Figure]


class DisagreementError(AssertionError):
    """A contestant computes something else."""


def measure(
    architecture: Architecture,
    batches: Sequence[int],
    rounds: int,
    device: torch.device,
    cache_dir: Path,
    sides: Sequence[int] = SIDES,
    turn_s: float = _TURN_S,
    calm_s: float = CALM_S,
) -> Network:
    """Raises DisagreementError."""
    generator = random_generator(architecture)
    gflop = gflop_a_face(generator)
    taking_part = contestants(generator, device, cache_dir)
    del generator
    precisions = list(dict.fromkeys(contestant.precision for contestant in taking_part))
    peak = matrix_product(precisions, device, sides, rounds, turn_s / 2, calm_s)
    crops = crops_of(architecture.size, max(batches))
    pictures: dict[tuple[str, int], Crops] = {}

    def restore(contestant: Contestant, batch: int) -> None:
        pictures[contestant.name, batch] = contestant.restore(crops[:batch])

    calls = {
        (contestant.name, batch): partial(restore, contestant, batch)
        for batch in batches
        for contestant in taking_part
    }
    for contestant in taking_part:
        contestant.restore(crops[:1])  # what is made at the first call is made
    times = take_turns(calls, rounds, turn_s, calm_s)
    ms = {key: 1000 * median(seconds) / key[1] for key, seconds in times.items()}
    figures = []
    for contestant in taking_part:
        for batch in batches:
            key = contestant.name, batch
            psnr = agreement(contestant, pictures[key], pictures[REFERENCE, batch])
            figures.append(_figure(contestant, batch, ms, psnr, gflop, peak))
    return Network(**asdict(architecture), gflop=gflop, peak_gflops=peak, figures=figures)


def crops_of(size: int, count: int) -> Crops:
    samples = sample_crops(size)
    return np.ascontiguousarray(samples[np.arange(count) % len(samples)])


def agreement(contestant: Contestant, pictures: Crops, reference: Crops) -> float:
    """PSNR, dB.  Raises DisagreementError when it is less than the precision alone explains."""
    psnr = min(_MOST_DB, cv2.PSNR(pictures, reference))
    if psnr < LEAST_DB[contestant.precision]:
        raise DisagreementError(f"{contestant.name} is only {psnr:.1f} dB from {REFERENCE}")
    return psnr


def _figure(
    contestant: Contestant,
    batch: int,
    ms: dict[tuple[str, int], float],
    psnr: float,
    gflop: float,
    peak: dict[Precision, float],
) -> Figure:
    mine = ms[contestant.name, batch]
    onnx_runtime, alone = ms.get((ONNX_RUNTIME, batch)), ms.get((contestant.name, 1))
    return Figure(
        contestant.name,
        contestant.precision,
        batch,
        ms=mine,
        psnr=psnr,
        to_published=ms[PUBLISHED, batch] / mine,
        to_onnx_runtime=None if onnx_runtime is None else onnx_runtime / mine,
        peak_share=1000 * gflop / mine / peak[contestant.precision],
        to_alone=None if alone is None else mine / alone,
    )


def text(network: Network) -> str:
    rows = [("", "batch", "ms a face", "published /", "ORT /", "PSNR, dB", "of peak", "to alone")]
    for figure in network.figures:
        rows.append(
            (
                figure.contestant,
                str(figure.batch),
                f"{figure.ms:.1f}",
                f"{figure.to_published:.2f}",
                "" if figure.to_onnx_runtime is None else f"{figure.to_onnx_runtime:.2f}",
                f"{figure.psnr:.1f}",
                f"{figure.peak_share:.0%}",
                "" if figure.to_alone is None else f"{figure.to_alone:.2f}",
            )
        )
    peaks = ", ".join(f"{name} {speed:.0f}" for name, speed in network.peak_gflops.items())
    return (
        f"\n{network.size} px (channel multiplier {network.channel_multiplier}, narrow "
        f"{network.narrow:g}): {network.gflop:.1f} GFLOP a face; "
        f"matrix product in GFLOP/s: {peaks}\n{table(rows)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.engine", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cache", type=Path, default=Path("build/bench/networks"))
    add_json(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_devices("auto")[0]
    tell(str(Machine.this()))
    networks: list[Network] = []
    for size in options.sizes:
        networks.append(
            measure(NETWORKS[size], options.batches, options.rounds, device, options.cache)
        )
        tell(text(networks[-1]))
        keep(options.json, "engine", {"networks": [asdict(network) for network in networks]})
    names = {figure.contestant for network in networks for figure in network.figures}
    if device.type == "cpu" and ONNX_RUNTIME not in names:
        tell(NO_ONNX_RUNTIME)


if __name__ == "__main__":
    main()
