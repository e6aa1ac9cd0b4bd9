"""``gpen prepare``, run beside a service that has begun without."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import app
from app.settings import Settings

log = logging.getLogger(__name__)

SETTINGS = ("model", "weights_dir", "cache_dir", "device", "log_level")
"""Those that preparing depends on."""

_SOURCES = Path(app.__path__[0]).resolve().parent
_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from app.cli import main; main()"


async def prepare_apart(settings: Settings) -> bool:
    """Whether it succeeded; why not is in the log, which both share.

    In a process of its own, that lets others go first: converting takes long, much memory, and
    Python's lock.  It runs the code that this process runs, and nothing from the working directory.
    Ends with the task that waits for it.
    """
    command = ["nice", sys.executable, "-P", "-c", _RUN, str(_SOURCES), "prepare"]
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
