"""Engines made, and measured against each other."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from app.engines.cache import EngineCache
from app.engines.candidates import REFERENCE, Candidate, Measurement
from app.engines.engine import Engine
from app.engines.samples import sample_crops
from app.engines.torch_engine import TorchEngine
from model.checkpoints.generator import load_generator
from model.networks import FullGenerator

log = logging.getLogger(__name__)

_ROUNDS = 5
_CALM_S = 0.25  # until the threads of the one before have stopped to wait for more, busily
_MOST_DB = 99.0  # of equal pictures


def build(
    candidate: Candidate, weights: Path, cache: EngineCache, generator: FullGenerator | None = None
) -> Engine:
    """An engine.  Raises WeightsError, or RuntimeError when a conversion cannot be read."""
    if candidate.engine == "openvino":
        from app.engines.openvino_engine import OpenVinoEngine  # noqa: PLC0415  (may be missing)

        if not cache.is_converted:
            raise RuntimeError("it is not there, or others could have written it")
        return OpenVinoEngine(cache.converted, candidate.precision, torch.get_num_threads())
    return TorchEngine(generator or load_generator(weights)[0], cache.device, candidate.precision)


def prepare(
    weights: Path, cache: EngineCache, wanted: Sequence[Candidate], *, again: bool = False
) -> list[Measurement]:
    """Convert a generator and measure the candidates, where that has not been done, and keep both.

    With ``again`` the candidates are measured in any case.  Of several processes one prepares, and
    the others wait for what it has found.  A candidate that fails is logged and left out.  Raises
    WeightsError, EngineError, OSError.
    """
    with cache.locked():
        measurements = cache.measurements()
        if again or not measurements:
            measurements = _measure(weights, cache, wanted)
            cache.keep(measurements)
        return measurements


def _measure(weights: Path, cache: EngineCache, wanted: Sequence[Candidate]) -> list[Measurement]:
    generator, _ = load_generator(weights)
    if any(candidate.engine == "openvino" for candidate in wanted):
        _convert(generator, cache)
    engines: dict[Candidate, Engine] = {REFERENCE: build(REFERENCE, weights, cache, generator)}
    crops = sample_crops(generator.size)
    reference = engines[REFERENCE](crops)
    fidelity = {REFERENCE: _MOST_DB}
    for candidate in wanted:
        if candidate in engines:
            continue
        try:
            engine = build(candidate, weights, cache, generator)
            fidelity[candidate] = min(_MOST_DB, cv2.PSNR(engine(crops), reference))
        except (RuntimeError, FloatingPointError) as error:
            log.warning("%s with %s fails: %s", candidate.engine, candidate.precision, error)
            continue
        engines[candidate] = engine
    seconds: dict[Candidate, list[float]] = {candidate: [] for candidate in engines}
    for _ in range(_ROUNDS):  # by turns: the machine may have something else to do, too
        for candidate, engine in engines.items():
            time.sleep(_CALM_S)
            engine(crops[:1])  # alone, as it will mostly be; the one before spoilt the caches
            start = time.perf_counter()
            engine(crops[:1])
            seconds[candidate].append(time.perf_counter() - start)
    return [
        Measurement(
            engine=candidate.engine,
            precision=candidate.precision,
            milliseconds=round(1000 * statistics.median(seconds[candidate]), 2),
            psnr=round(fidelity[candidate], 1),
        )
        for candidate in engines
    ]


def _convert(generator: FullGenerator, cache: EngineCache) -> None:
    from app.engines.openvino_engine import convert  # noqa: PLC0415

    if cache.is_converted:
        return
    with tempfile.TemporaryDirectory(dir=cache.folder) as folder:
        made = Path(folder) / cache.converted.name
        convert(generator, made)
        for file in (made, made.with_suffix(".bin")):
            file.chmod(0o644)  # whatever the umask lets others do
        # the description last: it says that both are there
        made.with_suffix(".bin").replace(cache.converted.with_suffix(".bin"))
        made.replace(cache.converted)
