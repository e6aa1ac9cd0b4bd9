"""Building engines, and measuring which of them is fastest and how precise each is."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import torch

from app.engines.cache import EngineCache
from app.engines.candidates import Candidate, Measurement, reference
from app.engines.engine import Engine, EngineError
from app.engines.samples import sample_crops
from app.engines.torch_engine import TorchEngine
from model.checkpoints.generator import is_onnx, load_generator
from model.networks import FullGenerator

log = logging.getLogger(__name__)

_ROUNDS = 5
_CALM_S = 0.25  # after which the threads of the previous engine have stopped spinning
_MAX_DB = 99.0  # reported for identical pictures, whose PSNR is infinite


def build(
    candidate: Candidate, weights: Path, cache: EngineCache, generator: FullGenerator | None = None
) -> Engine:
    """Build an engine; ``generator`` saves PyTorch reading ``weights`` again.

    Raises WeightsError, or RuntimeError if the cached conversion is missing or unreadable.
    """
    if candidate.engine == "onnxruntime":
        from app.engines.onnxruntime_engine import OnnxRuntimeEngine  # noqa: PLC0415  (an extra)

        return OnnxRuntimeEngine(weights, cache.device)
    if candidate.engine == "openvino":
        from app.engines.openvino_engine import OpenVinoEngine  # noqa: PLC0415  (may be missing)

        if not cache.is_converted:
            raise RuntimeError("it is missing, or others could have written it")
        return OpenVinoEngine(cache.converted, candidate.precision, torch.get_num_threads())
    return TorchEngine(generator or load_generator(weights)[0], cache.device, candidate.precision)


def prepare(
    weights: Path, cache: EngineCache, wanted: Sequence[Candidate], *, again: bool = False
) -> list[Measurement]:
    """Convert a generator and measure the candidates, and store both in the cache.

    Measurements that are cached already are returned, unless ``again`` is set.  If several
    processes call this at once, one works and the others wait for its result.  Candidates that fail
    are logged and left out.  Raises WeightsError, EngineError, OSError.
    """
    with cache.locked():
        measurements = cache.measurements()
        if again or not measurements:
            measurements = _measure(weights, cache, wanted)
            cache.keep(measurements)
            cache.remove_unused()
        return measurements


def _measure(weights: Path, cache: EngineCache, wanted: Sequence[Candidate]) -> list[Measurement]:
    generator = None if is_onnx(weights) else load_generator(weights)[0]
    if any(candidate.engine == "openvino" for candidate in wanted):
        _convert(weights, generator, cache)
    faithful = reference(cache.device, onnx=generator is None)
    engines: dict[Candidate, Engine] = {faithful: build(faithful, weights, cache, generator)}
    crops = sample_crops(engines[faithful].size)
    expected = engines[faithful](crops)
    fidelity = {faithful: _MAX_DB}
    for candidate in wanted:
        if candidate in engines:
            continue
        try:
            engine = build(candidate, weights, cache, generator)
            fidelity[candidate] = min(_MAX_DB, cv2.PSNR(engine(crops), expected))
        except (RuntimeError, FloatingPointError) as error:
            log.warning("%s with %s fails: %s", candidate.engine, candidate.precision, error)
            continue
        engines[candidate] = engine
    seconds: dict[Candidate, list[float]] = {candidate: [] for candidate in engines}
    for _ in range(_ROUNDS):  # in turns, so that other load on the machine slows all of them
        for candidate, engine in engines.items():
            time.sleep(_CALM_S)
            engine(crops[:1])  # refills the processor's caches after the previous engine
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


def build_reference(weights: Path, cache: EngineCache) -> Engine:
    """Build the most faithful engine, which needs no measurements.

    On a CPU, an ONNX file is converted first, which takes seconds; a conversion that cannot be read
    is replaced.  Raises WeightsError, EngineError.
    """
    onnx = is_onnx(weights)
    candidate = reference(cache.device, onnx=onnx)
    if not onnx or candidate.engine != "openvino":
        return build(candidate, weights, cache)
    try:
        if cache.is_converted:  # the cache may be read-only
            with suppress(RuntimeError):
                return build(candidate, weights, cache)
            log.warning("%s cannot be read and will be converted again", cache.converted)
            cache.discard()
        with cache.locked():
            _convert(weights, None, cache)
    except OSError as error:
        raise EngineError(f"{weights} cannot be converted into {cache.folder}: {error}") from error
    return build(candidate, weights, cache)


def _convert(weights: Path, generator: FullGenerator | None, cache: EngineCache) -> None:
    """Convert a generator into the cache; without ``generator``, the weights are an ONNX file."""
    from app.engines.openvino_engine import convert, convert_onnx  # noqa: PLC0415

    if cache.is_converted:
        return
    with tempfile.TemporaryDirectory(dir=cache.folder) as folder:
        graph = Path(folder) / cache.converted.name
        constants = graph.with_suffix(".bin")
        if generator is None:
            convert_onnx(weights, graph)
        else:
            convert(generator, graph)
        for file in (graph, constants):
            file.chmod(0o644)  # readable by all and writable by the owner, whatever the umask
        # the graph last, so that a graph in the cache always has its weights
        constants.replace(cache.converted.with_suffix(".bin"))
        graph.replace(cache.converted)
