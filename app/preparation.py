"""``gpen prepare``, run beside a service that has begun without."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

from app.settings import Settings

log = logging.getLogger(__name__)

SETTINGS = ("model", "weights_dir", "cache_dir", "device", "log_level")
"""Those that preparing depends on."""


async def prepare_apart(settings: Settings) -> bool:
    """Whether it succeeded; why not is in the log, which both share.

    In a process of its own, that lets others go first: converting takes long, much memory, and
    Python's lock.  Ends with the task that waits for it.
    """
    command = ["nice", sys.executable, "-m", "app.cli", "prepare"]
    for name in SETTINGS:
        command += [f"--{name.replace('_', '-')}", str(getattr(settings, name))]
    try:
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    except OSError as error:
        log.warning("%s cannot be run: %s", command[0], error.strerror)
        return False
    try:
        return await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
