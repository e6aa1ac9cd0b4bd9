"""What may be in memory at a time, in pixels."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from app.errors import MemoryFull

# Measured: pasting a face that fills the photo peaks at 79 bytes for each of its pixels; detection
# works on 4 megapixels at most, and takes 100 bytes for each of those.
BYTES_PER_PIXEL = 100
_SHARE = 0.6  # of the memory; the rest is for networks, uploads and everybody else
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


class PixelBudget:
    """Counts the pixels of the photos being worked on.  Thread-safe.

    ``retry_after`` says in how many seconds one of them is likely to be done.
    """

    def __init__(self, limit: int, retry_after: Callable[[], float]) -> None:
        self.limit = limit
        self._retry_after = retry_after
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        return self._used

    def take(self, pixels: int) -> Callable[[], None]:
        """Count a photo in; call what is returned, once or more often, to count it out.

        A photo that is over the limit by itself gets in when it is the only one.  Raises
        MemoryFull.
        """
        with self._lock:
            if self._used and self._used + pixels > self.limit:
                raise MemoryFull(
                    "Too many large photos are being worked on; try again.", self._retry_after()
                )
            self._used += pixels
        counted = [pixels]

        def release() -> None:
            with self._lock:
                self._used -= counted.pop() if counted else 0

        return release


def pixels_by_memory() -> int:
    """How many pixels fit into this machine's memory, or its container's."""
    return int(memory_bytes() * _SHARE / BYTES_PER_PIXEL)


def memory_bytes(cgroup_limits: tuple[Path, ...] = _CGROUP_LIMITS) -> int:
    """Physical memory, or what the control group allows if that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in cgroup_limits:
        if path.is_file() and (text := path.read_text().strip()).isdecimal():  # else "max"
            memory = min(memory, int(text))
    return memory
