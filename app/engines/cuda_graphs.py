"""A network on a GPU: recorded once for a few sizes of batches, with transfers beside its work."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.engines.engine import Crops
from app.engines.levels import LevelsToLevels

SIZES = (1, 2, 4, 8, 16, 32)
_TRANSFERS = 2  # calls at a time
_WARM_UPS = 3  # so that libraries have chosen and allocated what they need

_RECORDING = threading.Lock()
"""PyTorch records one graph at a time in a process."""


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    crops: Tensor
    """(size, R, R, 3) uint8; the graph reads it."""
    levels: Tensor
    """(size, R, R, 3) uint8; the graph writes it, and the next line."""
    means: Tensor
    """(size,)"""


class CudaGraphs:
    """A network that is launched as a whole: launching its kernels one by one would take longer
    than they run (NVIDIA, "CUDA Graphs"; what is recorded has fixed shapes and addresses, so there
    is one graph a size, made at its first call).

    Calls may come from several threads, two of which get on at a time: the crops of one go up, and
    the results of another come down, from and to pinned memory, while the network works.  There is
    a stream for each, and one for the network.
    """

    def __init__(self, network: LevelsToLevels, size: int, device: torch.device) -> None:
        self._network, self._size, self._device = network, size, device
        self._stream = _stream(device)
        # of its own: PyTorch's streams come round again, and one may be recorded on elsewhere
        self._transfers: SimpleQueue[torch.cuda.Stream] = SimpleQueue()
        for _ in range(_TRANSFERS):
            self._transfers.put(_stream(device))
        self._recordings: dict[int, _Recording] = {}
        self._lock = threading.Lock()

    def __call__(self, crops: Crops) -> tuple[Crops, NDArray[np.float32]]:
        """Crops, at most as many as the largest size, and their means, as the network has them.

        Raises torch.OutOfMemoryError when there is no memory for a graph of that size.
        """
        transfer = self._transfers.get()
        try:
            return self._restored(crops, transfer)
        finally:
            self._transfers.put(transfer)

    def _restored(
        self, crops: Crops, transfer: torch.cuda.Stream
    ) -> tuple[Crops, NDArray[np.float32]]:
        count = len(crops)
        with torch.cuda.stream(transfer):
            up = torch.from_numpy(crops).pin_memory().to(self._device, non_blocking=True)
        with self._lock:
            recording = self._recording(size_for(count))
            with torch.cuda.stream(self._stream):
                self._stream.wait_stream(transfer)
                recording.crops[:count].copy_(up)
                recording.graph.replay()
                results = recording.levels[:count].clone(), recording.means[:count].clone()
            transfer.wait_stream(self._stream)
        # their memory is not reused before both streams are done with it
        up.record_stream(self._stream)
        with torch.cuda.stream(transfer):
            levels, means = (_downloaded(result, transfer) for result in results)
        transfer.synchronize()
        return levels.numpy(), means.numpy()

    def _recording(self, size: int) -> _Recording:
        if size not in self._recordings:
            with _RECORDING:
                self._recordings[size] = self._record(size)
        return self._recordings[size]

    def _record(self, size: int) -> _Recording:
        # the graphs never run at the same time, so they share their memory
        pool = next((made.graph.pool() for made in self._recordings.values()), None)
        shape = (size, self._size, self._size, 3)
        crops = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        torch.cuda.synchronize(self._device)  # the zeros are there
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                self._network(crops)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # other threads go on meanwhile, with the detector for example, and may allocate
        with torch.cuda.graph(
            graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            levels, means = self._network(crops)
            levels = levels.contiguous()
        return _Recording(graph, crops, levels, means)


def _stream(device: torch.device) -> torch.cuda.Stream:
    """One of a few that PyTorch keeps, by turns."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def size_for(count: int) -> int:
    """The smallest of SIZES that holds so many."""
    return next(size for size in SIZES if size >= count)


def _downloaded(result: Tensor, stream: torch.cuda.Stream) -> Tensor:
    """On its way to pinned memory; complete when ``stream`` is."""
    result.record_stream(stream)
    host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
    return host.copy_(result, non_blocking=True)
