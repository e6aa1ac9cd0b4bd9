"""Programs that come with the development environment: linters of what is deployed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def program_of(name: str) -> str:
    """Where it is; skips where it is not to be had."""
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        pytest.skip(f"there is no {name} for this platform")
    return str(program)


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program_of(name), *arguments], capture_output=True, text=True, timeout=200, check=False
    )
