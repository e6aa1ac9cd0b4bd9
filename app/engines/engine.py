"""What every engine offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.engine_names import EngineName, Precision

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
    sizes: Sequence[int]
    """Faces a call that something is made for at the first such call; ascending.  With the last,
    each face takes the least time."""
    calls: int
    """How many may run at a time; with more than one, the device need not wait in between."""

    def __call__(self, crops: Crops) -> Crops:
        """Restore crops; same shape.

        Raises FloatingPointError when the network's output is not finite, torch.OutOfMemoryError,
        or whatever else the device has to say.
        """
        ...
