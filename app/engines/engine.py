"""What every engine offers, and how two of them compare."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

EngineName = Literal["torch", "openvino"]
Precision = Literal["fp32", "bf16", "fp16"]

Crops = NDArray[np.uint8]
"""(N, size, size, 3) RGB."""


class EngineError(ValueError):
    """An engine or a precision that is not to be had here; the message says why."""


class Engine(Protocol):
    """A generator that is ready to use."""

    name: EngineName
    precision: Precision
    size: int
    device: str
    """As PyTorch names it."""

    def __call__(self, crops: Crops) -> Crops:
        """Restore crops; same shape.

        Raises FloatingPointError when the network's output is not finite, torch.OutOfMemoryError,
        or whatever else the device has to say.
        """
        ...


def psnr(restored: Crops, reference: Crops) -> float:
    """Over all crops together, in dB; infinite where they are equal."""
    error = np.square(restored.astype(np.float64) - reference).mean()
    return math.inf if error == 0 else 10 * math.log10(255**2 / float(error))
