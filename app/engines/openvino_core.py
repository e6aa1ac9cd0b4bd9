"""OpenVINO's entry point, which a process has once."""

from __future__ import annotations

from functools import cache

from app.engines import no_telemetry  # noqa: F401  (before openvino)

import openvino  # isort: skip


@cache
def core() -> openvino.Core:
    """The process's only OpenVINO Core, which is never freed.

    Each Core loads a CPU plugin, which gives the calling thread an alternate signal stack.  When
    the Core is freed, the plugin frees that stack and restores the previous one.  If two Cores are
    freed in the order of their creation, or one is freed in another thread, a thread is left with a
    freed stack, and the next signal kills the process.
    """
    return openvino.Core()
