"""The generator on a CPU, run by OpenVINO."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from app.engine_names import EngineName, Precision
from app.engines.engine import Crops
from app.engines.levels import LevelsToLevels
from app.engines.onnx_file import levels_to_levels, read_onnx
from app.engines.openvino_core import core
from model.networks import FullGenerator

import openvino  # isort: skip

_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_MAX_PARALLEL = 4
_CAPABILITIES: dict[str, Precision] = {"FP32": "fp32", "BF16": "bf16", "FP16": "fp16"}


def convert(generator: FullGenerator, path: Path) -> None:
    """Write a generator as OpenVINO's ``.xml``, with ``.bin`` beside it, for any batch size.

    This takes seconds, or tens of seconds at 512 pixels.
    """
    size = generator.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    network = LevelsToLevels(generator).eval()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch has deprecated tracing, which OpenVINO uses
        model = openvino.convert_model(network, example_input=example)
    model.reshape([-1, size, size, 3])
    openvino.save_model(model, path, compress_to_fp16=False)


def convert_onnx(weights: Path, path: Path) -> None:
    """Write a face restorer that is an ONNX file as :func:`convert` does.  Raises WeightsError."""
    openvino.save_model(levels_to_levels(read_onnx(weights)), path, compress_to_fp16=False)


def precisions() -> list[Precision]:
    """The precisions that this processor has instructions for."""
    capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [precision for name, precision in _CAPABILITIES.items() if name in capabilities]


class OpenVinoEngine:
    """Implements :class:`app.engines.engine.Engine`.

    ``model`` is a file written by :func:`convert`; ``threads`` is how many threads a call may use.
    Raises RuntimeError if the file cannot be read.

    A single face is restored by all threads together.  Several faces are restored in parallel, each
    by a share of the threads, which then need not wait for each other after every layer.  That is
    slightly faster on an idle processor, and much faster on a busy one.
    """

    name: EngineName = "openvino"
    device = "cpu"
    calls = 1

    def __init__(self, model: Path, precision: Precision, threads: int) -> None:
        self.precision = precision
        self._parallel = faces_in_parallel(threads)
        self.sizes: Sequence[int] = sorted({1, self._parallel})
        alone = _compile(model, precision, threads, streams=1)
        self.size = int(alone.input(0).partial_shape[1].get_length())
        self._alone = alone.create_infer_request()
        self._several: list[openvino.InferRequest] = []
        if self._parallel > 1:
            several = _compile(model, precision, threads, streams=self._parallel)
            self._several = [several.create_infer_request() for _ in range(self._parallel)]

    def __call__(self, crops: Crops) -> Crops:
        restored = np.empty_like(crops, order="C")
        for start in range(0, len(crops), self._parallel):
            part = crops[start : start + self._parallel]
            requests = [self._alone] if len(part) == 1 else self._several[: len(part)]
            with ExitStack() as started:  # on an error, the started requests are waited for, too
                for request, crop in zip(requests, part, strict=True):
                    request.start_async({0: np.ascontiguousarray(crop[None])}, share_inputs=True)
                    started.callback(request.wait)
            for i, request in enumerate(requests, start):
                if not np.isfinite(request.get_output_tensor(1).data).all():
                    raise FloatingPointError("the network's output is not finite")
                restored[i] = request.get_output_tensor(0).data[0]
        return restored


def faces_in_parallel(threads: int) -> int:
    """How many faces to restore at a time: up to four, each by the same number of threads.

    More would need more memory, and many threads still share the work on one face well.
    """
    threads_each = -(-threads // _MAX_PARALLEL)
    return threads // threads_each


def _compile(
    model: Path, precision: Precision, threads: int, streams: int
) -> openvino.CompiledModel:
    return core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            # the service's other threads and other replicas use the same cores
            "ENABLE_CPU_PINNING": False,
        },
    )
