"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def core_count(cgroup: Path = _CGROUP) -> int:
    """The cores that the affinity mask and the container's quota allow; at least 1.

    PyTorch does not know about quotas, so :func:`app.cli.main` sets ``OMP_NUM_THREADS``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, math.ceil(min(cores or 1, _quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """The CPU time that a control group may use, in cores; infinite without a quota."""
    if not cgroup.is_file():
        return math.inf
    allowed, _, period = cgroup.read_text().partition(" ")
    return int(allowed) / int(period) if allowed.isdecimal() else math.inf  # else "max"
