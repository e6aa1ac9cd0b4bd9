"""Settings of the C library's allocator, peak GPU memory, and out-of-memory errors."""

from __future__ import annotations

import ctypes

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> bool:
    """Make this process keep memory that it frees; returns whether that was possible.

    The features of a training step are tens of megabytes each.  glibc takes such blocks from the
    kernel and returns them when they are freed, up to hundreds of times a step, and the kernel
    clears every page that it hands out.  A command calls this once at its start; the process then
    keeps its peak memory until it ends.  With another C library than glibc nothing happens.
    """
    try:
        libc = ctypes.CDLL(None)
        _ = libc.gnu_get_libc_version
        set_option = libc.mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    # serve large requests from the heap, and never return the end of the heap
    return bool(set_option(_MMAP_MAX, 0) and set_option(_TRIM_THRESHOLD, -1))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of a GPU or of the machine is exhausted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def peak_gpu_memory(device: torch.device) -> float | None:
    """Peak memory of tensors on a GPU since the last call, in GiB; None for other devices."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.reset_peak_memory_stats(device)
    return peak
