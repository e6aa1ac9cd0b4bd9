"""Photos on disk, one after the other: what the commands that take a folder share."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from app.bulk.plan import SUFFIXES
from app.errors import ServiceError

Item = TypeVar("Item")


def find_photos(source: Path) -> list[Path]:
    """A photo, or all of a folder and its subfolders.  Raises FileNotFoundError."""
    if not source.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT).lower(), str(source))
    if not source.is_dir():
        return [source]
    return sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)


def for_each(
    items: Sequence[Item], name: Callable[[Item], Path], work: Callable[[Item], str]
) -> int:
    """Work on each, with a progress bar for many, and a line for each.

    Returns how many failed; one that does costs the others nothing.
    """
    failures = 0
    for item in tqdm(items, unit="photo", disable=len(items) < 2):
        try:
            done = work(item)
        except (ServiceError, OSError) as error:
            failures += 1
            tqdm.write(f"{name(item)}: {error}", file=sys.stderr)
        except Exception as error:  # noqa: BLE001  (a bug on one photo must not cost the others)
            failures += 1
            tqdm.write(f"{name(item)}: {type(error).__name__}: {error}", file=sys.stderr)
        else:
            tqdm.write(done)
    return failures


def fail(message: str) -> int:
    """Say in one line why nothing could be done; the command's exit status."""
    print(f"error: {message}", file=sys.stderr)
    return 1
