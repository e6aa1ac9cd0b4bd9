"""How much memory there is, and how it is shared out."""

from __future__ import annotations

import os
from pathlib import Path

# Measured: pasting a face that fills the photo peaks at 79 bytes for each of its pixels; detection
# works on 4 megapixels at most, and takes 100 bytes for each of those.
BYTES_PER_PIXEL = 100
# Measured, for a photo that has the memory to itself: 16 bytes for each pixel of the photo, and 19
# for each of the output.  Outputs that are large enough to matter here are enlarged ones.
BYTES_PER_PIXEL_ALONE = 20
_PHOTOS = 0.6
_UPLOADS = 0.05  # a body is there up to three times while its form is parsed
_ANSWERS = 0.15
# the rest is for networks and everybody else
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def pixels_by_memory() -> int:
    """Pixels of all photos at work that fit into this machine's memory, or its container's."""
    return int(memory_bytes() * _PHOTOS / BYTES_PER_PIXEL)


def pixels_alone_by_memory() -> int:
    """Pixels of the largest output that fits when no other photo is at work."""
    return int(memory_bytes() * _PHOTOS / BYTES_PER_PIXEL_ALONE)


def upload_bytes_by_memory() -> int:
    """Bytes of all uploads that fit."""
    return int(memory_bytes() * _UPLOADS)


def answer_bytes_by_memory() -> int:
    """Bytes of all answers on their way to clients that fit."""
    return int(memory_bytes() * _ANSWERS)


def memory_bytes(cgroup_limits: tuple[Path, ...] = _CGROUP_LIMITS) -> int:
    """Physical memory, or what the control group allows if that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in cgroup_limits:
        if path.is_file() and (text := path.read_text().strip()).isdecimal():  # else "max"
            memory = min(memory, int(text))
    return memory
