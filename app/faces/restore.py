"""Restoring batches of aligned crops with the generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.engines.engine import Crops, Engine
from app.imaging.photo import Pixels


@dataclass(frozen=True)
class Restorer:
    """An engine, and what the service needs to know about the generator that it runs."""

    engine: Engine
    name: str
    licence: str
    template: NDArray[np.float64]
    """(5, 2): where the landmarks lie in a crop, in its pixels."""

    @property
    def size(self) -> int:
        return self.engine.size

    def __call__(self, crops: Crops) -> Crops:
        """Restore (N, size, size, 3) crops.  Raises what the engine raises."""
        return self.engine(crops)


def restore_all(restorer: Restorer, crops: list[Pixels], max_batch: int) -> list[Pixels]:
    """Restore any number of crops in batches of up to ``max_batch``, without a queue."""
    restored: list[Pixels] = []
    for start in range(0, len(crops), max_batch):
        restored.extend(restorer(np.stack(crops[start : start + max_batch])))
    return restored
