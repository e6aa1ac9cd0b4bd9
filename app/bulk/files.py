"""Files that are whole or not there."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

_UNFINISHED = ".gpen-part"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, its folders included; killed at any moment, it leaves no half one of that name.

    Pipes and devices are written to as they are.  Raises OSError.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}{_UNFINISHED}")
    try:
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or after a power failure the name may outlive the content
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def is_unfinished(name: str) -> bool:
    """Whether :func:`write_whole` was killed while it wrote a file of this name."""
    return name.startswith(".") and name.endswith(_UNFINISHED)
