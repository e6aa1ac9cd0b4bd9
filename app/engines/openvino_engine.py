"""The generator by OpenVINO, on a CPU."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
import torch

from app.engine_names import EngineName, Precision
from app.engines import no_telemetry  # noqa: F401  (before openvino)
from app.engines.engine import Crops
from app.engines.levels import LevelsToLevels
from model.networks import FullGenerator

import openvino  # isort: skip

_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_SIDE_BY_SIDE = 4
_CAPABILITIES: dict[str, Precision] = {"FP32": "fp32", "BF16": "bf16", "FP16": "fp16"}


@cache
def _core() -> openvino.Core:
    """OpenVINO itself, once, for as long as the process lives.

    Each Core has a CPU plugin of its own, which gives the thread that makes it another stack for
    signals and, when it goes, frees that stack and puts back the one that was there before it.
    When two go in the order in which they came, or one goes in another thread, the thread is left
    with a stack that is freed: the next signal kills the process.
    """
    return openvino.Core()


def convert(generator: FullGenerator, path: Path) -> None:
    """Write a generator as OpenVINO's ``.xml`` and, beside it, ``.bin``; any number of faces.

    Takes seconds, at 512 pixels tens of them.
    """
    size = generator.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    network = LevelsToLevels(generator).eval()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in PyTorch, and OpenVINO traces
        model = openvino.convert_model(network, example_input=example)
    model.reshape([-1, size, size, 3])
    openvino.save_model(model, path, compress_to_fp16=False)


def precisions() -> list[Precision]:
    """Those that this processor has instructions for."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [precision for name, precision in _CAPABILITIES.items() if name in capabilities]


class OpenVinoEngine:
    """Implements :class:`app.engines.engine.Engine`.

    ``model`` is a file of :func:`convert`; ``threads`` are those that a call may use.  Raises
    RuntimeError when it cannot be read.

    One face is restored by all threads together.  Several are restored side by side, each by
    threads of its own, so that none waits for another after every layer: that takes a little less
    of the processor when it is idle, and much less when others want it, too.
    """

    name: EngineName = "openvino"
    device = "cpu"
    calls = 1

    def __init__(self, model: Path, precision: Precision, threads: int) -> None:
        self.precision = precision
        self._most = side_by_side(threads)
        self.sizes: Sequence[int] = sorted({1, self._most})
        alone = _compile(model, precision, threads, streams=1)
        self.size = int(alone.input(0).partial_shape[1].get_length())
        self._alone = alone.create_infer_request()
        self._several: list[openvino.InferRequest] = []
        if self._most > 1:
            several = _compile(model, precision, threads, streams=self._most)
            self._several = [several.create_infer_request() for _ in range(self._most)]

    def __call__(self, crops: Crops) -> Crops:
        restored = np.empty_like(crops, order="C")
        for start in range(0, len(crops), self._most):
            part = crops[start : start + self._most]
            requests = [self._alone] if len(part) == 1 else self._several[: len(part)]
            with ExitStack() as started:  # whatever happens, none is left running
                for request, crop in zip(requests, part, strict=True):
                    request.start_async({0: np.ascontiguousarray(crop[None])}, share_inputs=True)
                    started.callback(request.wait)
            for i, request in enumerate(requests, start):
                if not np.isfinite(request.get_output_tensor(1).data).all():
                    raise FloatingPointError("the network's output is not finite")
                restored[i] = request.get_output_tensor(0).data[0]
        return restored


def side_by_side(threads: int) -> int:
    """How many faces to restore at once: up to four, each by as many threads.

    Each takes memory, and threads that are many share the work on one well.
    """
    threads_each = -(-threads // _SIDE_BY_SIDE)
    return threads // threads_each


def _compile(
    model: Path, precision: Precision, threads: int, streams: int
) -> openvino.CompiledModel:
    return _core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            # the service's other threads use the same cores, and so do replicas beside it
            "ENABLE_CPU_PINNING": False,
        },
    )
