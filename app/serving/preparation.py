"""Runs ``gpen prepare`` in a subprocess, for a service that started without measurements."""

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
"""The settings that ``gpen prepare`` depends on."""

_SOURCES = Path(app.__path__[0]).resolve().parent
_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from app.cli import main; main()"


async def prepare_apart(settings: Settings) -> bool:
    """Return whether it succeeded; the reason for a failure is in the log, which both share.

    Converting takes long, needs much memory and holds Python's lock, hence a process of its own at
    low priority.  It runs this process's code, and nothing from the working directory.  It is
    killed if the task that waits for it is cancelled.
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
