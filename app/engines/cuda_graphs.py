"""A network on a GPU as CUDA graphs, one per batch size, with transfers in parallel."""

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
"""Batch sizes that are recorded; smaller batches are padded."""
_TRANSFERS = 2  # calls that may run at a time
_WARM_UPS = 3  # runs before recording, in which libraries choose kernels and allocate workspaces

_RECORDING = threading.Lock()
"""A process may record only one graph at a time."""


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    crops: Tensor
    """(size, R, R, 3) uint8, the graph's input."""
    levels: Tensor
    """(size, R, R, 3) uint8, the graph's first output."""
    means: Tensor
    """(size,) float32, the graph's second output."""


class CudaGraphs:
    """A network that is launched as one CUDA graph.

    Launching its kernels one by one takes longer than they run.  A graph has fixed shapes and
    addresses (NVIDIA, "CUDA Graphs"), so there is one for each batch size, recorded on first use.

    Several threads may call; two calls run at a time.  One copies its crops to the GPU or its
    results back, through pinned memory, while the network works for the other.  Each of the two has
    a stream for its copies, and the network has a third one.
    """

    def __init__(self, network: LevelsToLevels, size: int, device: torch.device) -> None:
        self._network, self._size, self._device = network, size, device
        self._stream = _stream(device)
        # created once, since PyTorch's pool hands its streams out again, and one may be recording
        self._transfers: SimpleQueue[torch.cuda.Stream] = SimpleQueue()
        for _ in range(_TRANSFERS):
            self._transfers.put(_stream(device))
        self._recordings: dict[int, _Recording] = {}
        self._lock = threading.Lock()

    def __call__(self, crops: Crops) -> tuple[Crops, NDArray[np.float32]]:
        """Restore at most SIZES[-1] crops; also returns the mean of each output, (N,) float32.

        Raises torch.OutOfMemoryError if there is too little memory for a graph of that size.
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
            uploaded = torch.from_numpy(crops).pin_memory().to(self._device, non_blocking=True)
        with self._lock:
            recording = self._recording(size_for(count))
            with torch.cuda.stream(self._stream):
                self._stream.wait_stream(transfer)
                recording.crops[:count].copy_(uploaded)
                recording.graph.replay()
                results = recording.levels[:count].clone(), recording.means[:count].clone()
            transfer.wait_stream(self._stream)
        # its memory must not be reused before both streams are done with it
        uploaded.record_stream(self._stream)
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
        # the graphs never run at the same time, so they can share a memory pool
        pool = next((recording.graph.pool() for recording in self._recordings.values()), None)
        shape = (size, self._size, self._size, 3)
        crops = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        torch.cuda.synchronize(self._device)  # the zeros were written on another stream
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                self._network(crops)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # other threads, such as the detector's, may allocate memory during the recording
        with torch.cuda.graph(
            graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            levels, means = self._network(crops)
            levels = levels.contiguous()
        return _Recording(graph, crops, levels, means)


def _stream(device: torch.device) -> torch.cuda.Stream:
    """A CUDA stream from PyTorch's pool."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def size_for(count: int) -> int:
    """The smallest of SIZES that is at least ``count``."""
    return next(size for size in SIZES if size >= count)


def _downloaded(result: Tensor, stream: torch.cuda.Stream) -> Tensor:
    """A copy in pinned memory, which is complete once ``stream`` has been synchronised."""
    result.record_stream(stream)
    host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
    return host.copy_(result, non_blocking=True)
