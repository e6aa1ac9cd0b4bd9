"""The generator on any device, run by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from app.engine_names import EngineName, Precision
from app.engines.cuda_graphs import SIZES, CudaGraphs
from app.engines.engine import Crops
from app.engines.levels import LevelsToLevels
from model.networks import FullGenerator

_Restore = Callable[[Crops], tuple[Crops, NDArray[np.float32]]]
"""At most SIZES[-1] crops -> the restored crops, and the mean of each (N,)."""

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class TorchEngine:
    """Implements :class:`app.engines.engine.Engine`."""

    name: EngineName = "torch"

    def __init__(
        self, generator: FullGenerator, device: torch.device, precision: Precision = "fp32"
    ) -> None:
        self.size = generator.size
        self.device = str(device)
        self.precision = precision
        self._network = LevelsToLevels(generator, DTYPES[precision]).eval().to(device)
        on_gpu = device.type == "cuda"
        # on a CPU, a face in a batch of four was measured to take a third longer than a single one
        self.sizes: Sequence[int] = SIZES if on_gpu else (1,)
        self.calls = 2 if on_gpu else 1
        self._restore: _Restore = (
            CudaGraphs(self._network, self.size, device) if on_gpu else self._directly
        )

    @torch.inference_mode()
    def __call__(self, crops: Crops) -> Crops:
        parts = [self._restore(crops[i : i + SIZES[-1]]) for i in range(0, len(crops), SIZES[-1])]
        if not all(np.isfinite(means).all() for _, means in parts):
            raise FloatingPointError("the network's output is not finite")
        return np.ascontiguousarray(np.concatenate([levels for levels, _ in parts]))

    def _directly(self, crops: Crops) -> tuple[Crops, NDArray[np.float32]]:
        levels, means = self._network(torch.from_numpy(crops))
        return levels.numpy(), means.numpy()
