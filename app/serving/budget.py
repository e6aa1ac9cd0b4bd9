"""How much memory there is, and what share of it each purpose gets."""

from __future__ import annotations

import os
from pathlib import Path

# Measured: pasting a face that fills the photo peaks at 79 bytes for each of its pixels; detection
# works on 4 megapixels at most, and takes 100 bytes for each of those.
BYTES_PER_PIXEL = 100
# Measured for a photo alone in memory: 16 bytes for each pixel of the photo, and 19 for each of the
# output.  Only enlarged outputs are large enough to matter here.
BYTES_PER_PIXEL_ALONE = 20
_PHOTOS = 0.6
_UPLOADS = 0.05  # up to three copies of a body exist while its form is parsed
_ANSWERS = 0.15
# the rest is for the networks and other processes
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def pixels_by_memory() -> int:
    """How many pixels of photos in progress fit into the memory of the machine or container."""
    return int(memory_bytes() * _PHOTOS / BYTES_PER_PIXEL)


def pixels_alone_by_memory() -> int:
    """How many pixels an output may have if no other photo is in progress."""
    return int(memory_bytes() * _PHOTOS / BYTES_PER_PIXEL_ALONE)


def upload_bytes_by_memory() -> int:
    """How many bytes of uploads fit."""
    return int(memory_bytes() * _UPLOADS)


def answer_bytes_by_memory() -> int:
    """How many bytes of answers being sent fit."""
    return int(memory_bytes() * _ANSWERS)


def memory_bytes(cgroup_limits: tuple[Path, ...] = _CGROUP_LIMITS) -> int:
    """The physical memory, or the control group's limit if that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in cgroup_limits:
        if path.is_file() and (text := path.read_text().strip()).isdecimal():  # else "max"
            memory = min(memory, int(text))
    return memory
