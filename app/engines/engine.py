"""The interface that all engines implement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.engine_names import EngineName, Precision

Crops = NDArray[np.uint8]
"""(N, size, size, 3) RGB."""


class EngineError(ValueError):
    """An engine or a precision that is not available here; the message says why."""


class Engine(Protocol):
    """A generator that is loaded and ready to restore faces."""

    name: EngineName
    precision: Precision
    size: int
    device: str
    """PyTorch's name of the device, such as ``cuda:0``."""
    sizes: Sequence[int]
    """Batch sizes that are compiled on first use, ascending.  The last is the most efficient."""
    calls: int
    """How many calls may run at a time.  A second one keeps the device busy."""

    def __call__(self, crops: Crops) -> Crops:
        """Restore (N, size, size, 3) crops; returns the same shape.

        Raises FloatingPointError if the network's output is not finite, torch.OutOfMemoryError, and
        RuntimeError if the device fails.
        """
        ...
