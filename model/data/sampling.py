"""The order of training samples: a step's batch is a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """The values, besides the seed, that a training pair depends on."""

    epoch: int
    face: int
    copy: int = 0
    """Number of earlier uses of the face in the same epoch."""


class EpochBatches(Sampler[list[SampleKey]]):
    """Batches of keys, shuffled per epoch, for the steps from ``start`` to ``stop``.

    Steps are counted over all epochs.  A step's batch does not depend on earlier steps, so the step
    alone is a run's position in its data, and training resumes exactly, also within an epoch.  A
    batch is divided into ``parts`` of equal size, and the parts in ``taken`` are returned one after
    the other: processes share a step's batch by taking different parts.

    An epoch has as many samples as there are faces.  Without ``weights``, or if all are equal, each
    face is used once; otherwise more or less often, according to its weight.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        parts: int = 1,
        taken: Sequence[int] = (0,),
        weights: Sequence[float] | None = None,
    ) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.start, self.stop = start, stop
        self.parts, self.taken = parts, taken
        self.weights = np.ones(length) if weights is None else np.array(weights)

    def __len__(self) -> int:
        return (self.stop - self.start) * len(self.taken)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        per_epoch = batches_per_epoch(self.length, self.batch_size)
        keys: list[SampleKey] = []
        for step in range(self.start, self.stop):
            epoch, batch = divmod(step, per_epoch)
            if batch == 0 or not keys:
                keys = self._keys(epoch)
            chosen = keys[batch * self.batch_size : (batch + 1) * self.batch_size]
            size = len(chosen) // self.parts
            for part in self.taken:
                yield chosen[part * size : (part + 1) * size]

    def _keys(self, epoch: int) -> list[SampleKey]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.length)
        faces = _draw_systematically(self.weights, rng)
        copies = np.arange(self.length) - np.searchsorted(faces, faces)
        return [SampleKey(epoch, int(faces[i]), int(copies[i])) for i in order]


def _draw_systematically(
    weights: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Draw as many indices as there are weights, sorted.

    Each occurs as often as its weight divided by the mean weight, rounded up or down at random.
    """
    count = len(weights)
    ends = np.cumsum(weights) * (count / np.sum(weights))
    # rounded, so that equal weights end at whole numbers, and the last at ``count``
    return np.searchsorted(np.round(ends, 6), np.arange(count) + rng.random(), side="right")


def batches_per_epoch(length: int, batch_size: int) -> int:
    """Steps in an epoch; a smaller last batch is dropped, unless it is the only one."""
    return max(1, length // batch_size)
