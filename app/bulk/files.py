"""Writes files atomically: a reader never sees an incomplete one."""

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
    """Write a file atomically, and create its folders.

    A link of that name is replaced, and its target stays unchanged.  The file is readable by those
    who may read its ``origin``, whose label is stored with it.  Pipes and devices are written to
    directly.  Raises OSError.
    """
    if _is_special(path):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(path, data, origin) as unfinished:
        unfinished.replace(path)


def write_new(path: Path, data: bytes, origin: Origin = _ANYBODY) -> bool:
    """Like :func:`write_whole`, but only if the name is free; returns whether it was.

    A broken link takes a name, too.  Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(path, data, origin) as unfinished:
        try:
            path.hardlink_to(unfinished)
        except FileExistsError:
            return False
        except OSError:  # the file system has no hard links
            if os.path.lexists(path):
                return False
            unfinished.replace(path)
        return True


def is_unfinished(name: str) -> bool:
    """Whether this is the name of an incomplete file, left by a process that was killed."""
    return name.startswith(".") and name.endswith(_UNFINISHED)


@contextmanager
def _unfinished(path: Path, data: bytes, origin: Origin) -> Iterator[Path]:
    """Write the data to a file beside ``path``, which is removed afterwards if it still exists."""
    unfinished = path.with_name(f".{uuid.uuid4().hex}{_UNFINISHED}")
    try:
        new = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, origin.mode)
        with os.fdopen(new, "wb") as file:
            origin.keep_in(new)
            file.write(data)
            file.flush()
            os.fsync(new)  # or a power failure could leave the name without the content
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether this is a pipe, a device, or a link to one such as /dev/stdout."""
    if path.is_symlink():
        return any(path.is_relative_to(folder) for folder in _SPECIAL)
    return path.exists() and not path.is_file()
