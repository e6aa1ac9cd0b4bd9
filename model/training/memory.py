"""How the C library hands out memory."""

from __future__ import annotations

import ctypes

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
