"""How many cores there are for this process."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def core_count(cgroup: Path = _CGROUP) -> int:
    """Those that it may run on, or what its container's quota allows if that is less; at least 1.

    PyTorch sees no quota: ``OMP_NUM_THREADS`` tells it (:func:`app.cli.main`).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, math.ceil(min(cores or 1, _quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Cores' worth of time that a control group may use."""
    if not cgroup.is_file():
        return math.inf
    allowed, _, period = cgroup.read_text().partition(" ")
    return int(allowed) / int(period) if allowed.isdecimal() else math.inf  # else "max"
