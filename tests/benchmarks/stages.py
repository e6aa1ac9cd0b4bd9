"""``python -m tests.benchmarks.stages``: a photo's way through the service, stage by stage.

A portrait of 512x512 pixels and a crowd of 12 megapixels, or a photo of your own, by the starter:
``app.faces.pipeline`` itself, each function that it calls for a stage being timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar
from unittest.mock import patch

from app.faces import pipeline
from tests.benchmarks import plain as plain_functions
from tests.benchmarks.photos import crowd, portrait
from tests.benchmarks.plain import Plain
from tests.benchmarks.report import Machine, add_json, keep, tell
from tests.soak.figures import table
from tests.soak.scenarios import prepare

P = ParamSpec("P")
R = TypeVar("R")

STAGES = {
    "decode": (plain_functions, "decode"),
    "detect": (pipeline, "detect_turned"),
    "align": (pipeline, "align"),
    "restore": (plain_functions, "restore_all"),
    "paste": (pipeline, "paste"),
    "encode": (pipeline, "encode"),
}
"""Where each stage's function is called from, and its name there."""


@dataclass(frozen=True)
class Stages:
    """Of one photo: medians, in milliseconds."""

    photo: str
    width: int
    height: int
    faces: int
    engine: str
    ms: Mapping[str, float]
    """Of each stage."""
    but_restoration: float
    """The whole photo but ``restore``; what lies between the stages is part of it."""
    whole: float


def measure(name: str, data: bytes, plain: Plain, runs: int) -> Stages:
    """After a run that does not count."""
    enhanced = plain(data)
    laps = [_lap(data, plain) for _ in range(runs)]
    engine = plain.loaded.restorer.engine
    return Stages(
        name,
        enhanced.width,
        enhanced.height,
        sum(report.restored for report in enhanced.reports),
        f"{engine.name} {engine.precision}",
        {stage: 1000 * median(lap[stage] for lap in laps) for stage in STAGES},
        1000 * median(lap["whole"] - lap["restore"] for lap in laps),
        1000 * median(lap["whole"] for lap in laps),
    )


def _lap(data: bytes, plain: Plain) -> dict[str, float]:
    """Seconds of each stage, and of the whole."""
    with stopwatches() as seconds:
        start = time.perf_counter()
        plain(data)
        seconds["whole"] = time.perf_counter() - start
    return seconds


@contextmanager
def stopwatches() -> Iterator[dict[str, float]]:
    """Seconds that each stage has taken so far."""
    seconds = dict.fromkeys(STAGES, 0.0)
    with ExitStack() as patches:
        for stage, (module, name) in STAGES.items():
            timed = _timed(getattr(module, name), stage, seconds)
            patches.enter_context(patch.object(module, name, timed))
        yield seconds


def _timed(function: Callable[P, R], stage: str, seconds: dict[str, float]) -> Callable[P, R]:
    def timed(*args: P.args, **options: P.kwargs) -> R:
        start = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            seconds[stage] += time.perf_counter() - start

    return timed


def text(results: list[Stages]) -> str:
    rows = [("ms", *(result.photo for result in results))]
    rows += [(stage, *(f"{result.ms[stage]:.1f}" for result in results)) for stage in STAGES]
    rows.append(("all but restore", *(f"{result.but_restoration:.1f}" for result in results)))
    rows.append(("whole", *(f"{result.whole:.1f}" for result in results)))
    rows.append(("faces", *(str(result.faces) for result in results)))
    rows.append(("pixels", *(f"{result.width}x{result.height}" for result in results)))
    return f"{results[0].engine}\n{table(rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.stages", description=__doc__)
    parser.add_argument("--photo", type=Path, action="append", default=[], help="one more photo")
    parser.add_argument("--runs", type=int, default=7)
    add_json(parser)
    options = parser.parse_args()
    prepare()
    plain = Plain.ready()
    photos = {"portrait": portrait(), "crowd": crowd()}
    photos |= {path.stem: path.read_bytes() for path in options.photo}
    results = [measure(name, data, plain, options.runs) for name, data in photos.items()]
    tell(f"{Machine.this()}\n{text(results)}")
    keep(options.json, "stages", {"photos": [asdict(result) for result in results]})


if __name__ == "__main__":
    main()
