"""A face restorer that is an ONNX file, run by ONNX Runtime: on GPUs, where OpenVINO does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import torch

from app.engine_names import EngineName, Precision
from app.engines.engine import Crops
from app.engines.onnx_file import read_onnx

_HALF = np.float32(127.5)


class OnnxRuntimeEngine:
    """Implements :class:`app.engines.engine.Engine`.  Raises WeightsError.

    Faces are restored one at a time, because many files fix the batch.
    """

    name: EngineName = "onnxruntime"
    precision: Precision = "fp32"
    sizes: Sequence[int] = (1,)
    calls = 1

    def __init__(self, weights: Path, device: torch.device) -> None:
        file = read_onnx(weights)
        self.size = file.size
        self.device = str(device)
        self._picture, self._constants, self._restored = file.picture, file.constants, file.restored
        provider = ("CUDAExecutionProvider", {"device_id": device.index or 0})
        self._session = onnxruntime.InferenceSession(
            weights, providers=[provider if device.type == "cuda" else "CPUExecutionProvider"]
        )
        (self._type,) = (
            np.float16 if "float16" in port.type else np.float32
            for port in self._session.get_inputs()
            if port.name == self._picture
        )

    def __call__(self, crops: Crops) -> Crops:
        return np.stack([self._restore(crop) for crop in crops])

    def _restore(self, crop: Crops) -> Crops:
        """(size, size, 3) -> the same."""
        x = (crop.transpose(2, 0, 1)[None] / _HALF - 1).astype(self._type)
        (y,) = self._session.run([self._restored], {self._picture: x, **self._constants})
        if not np.isfinite(y).all():
            raise FloatingPointError("the network's output is not finite")
        levels = np.rint((y[0].astype(np.float32) + 1) * _HALF).clip(0, 255)
        return np.ascontiguousarray(levels.transpose(1, 2, 0).astype(np.uint8))
