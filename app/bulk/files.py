"""Files that are whole or not there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.bulk.origin import Origin

_UNFINISHED = ".gpen-part"
_SPECIAL = (Path("/dev"), Path("/proc"))
_ANYBODY = Origin(b"", 0o666)


def write_whole(path: Path, data: bytes, origin: Origin = _ANYBODY) -> None:
    """Write a file, its folders included; killed at any moment, it leaves no half one of that name.

    A link of that name is replaced, and what it points to stays as it is.  Nobody may read the file
    who may not read its ``origin``, which is kept with it.  Pipes and devices are written to as
    they are.  Raises OSError.
    """
    if _is_special(path):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(path, data, origin) as unfinished:
        unfinished.replace(path)


def write_new(path: Path, data: bytes, origin: Origin = _ANYBODY) -> bool:
    """Like :func:`write_whole`, but only if nothing of that name is there.

    False if something is, be it a link that leads nowhere.  Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(path, data, origin) as unfinished:
        try:
            path.hardlink_to(unfinished)
        except FileExistsError:
            return False
        except OSError:  # there are no such links in this file system
            if os.path.lexists(path):
                return False
            unfinished.replace(path)
        return True


def is_unfinished(name: str) -> bool:
    """Whether a function of this module was killed while it wrote a file of this name."""
    return name.startswith(".") and name.endswith(_UNFINISHED)


@contextmanager
def _unfinished(path: Path, data: bytes, origin: Origin) -> Iterator[Path]:
    """A file beside ``path`` that holds the data; removed afterwards if it is still there."""
    unfinished = path.with_name(f".{uuid.uuid4().hex}{_UNFINISHED}")
    try:
        new = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, origin.mode)
        with os.fdopen(new, "wb") as file:
            origin.keep_in(new)
            file.write(data)
            file.flush()
            os.fsync(new)  # or after a power failure the name may outlive the content
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether it is a pipe or a device, or what the system calls so: /dev/stdout is a link."""
    if path.is_symlink():
        return any(path.is_relative_to(folder) for folder in _SPECIAL)
    return path.exists() and not path.is_file()
