"""Memory: how the C library hands it out, how much a GPU uses, and which errors say it is out."""

from __future__ import annotations

import ctypes

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> bool:
    """Have this process keep memory that it frees; returns whether the C library can be told.

    The features of a training step are tens of megabytes each.  glibc takes such blocks from the
    kernel and gives them back when they are freed, up to hundreds of times a step, and the kernel
    clears every page that it hands out.  For a command to call once, as it begins: what the process
    needed at its peak, it then keeps.  Elsewhere than with glibc nothing happens.
    """
    try:
        libc = ctypes.CDLL(None)
        _ = libc.gnu_get_libc_version
        set_option = libc.mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none to speak of
        return False
    # no block of its own for a large request, and never give back the end of the heap
    return bool(set_option(_MMAP_MAX, 0) and set_option(_TRIM_THRESHOLD, -1))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, of a GPU or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def peak_gpu_memory(device: torch.device) -> float | None:
    """The most memory in GiB that tensors took on a GPU since the last call; None elsewhere."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.reset_peak_memory_stats(device)
    return peak
