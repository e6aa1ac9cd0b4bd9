"""Photos on disk, one after the other: what the commands that take a folder share."""

from __future__ import annotations

import errno
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from app.errors import ServiceError
from app.imaging.formats import SUFFIXES
from app.text import printable

Item = TypeVar("Item")


def find_photos(source: Path) -> tuple[list[Path], list[OSError]]:
    """A photo, or all of a folder and its subfolders; and an error for each that cannot be read.

    Raises FileNotFoundError.
    """
    if not source.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT).lower(), str(source))
    if not source.is_dir():
        return [source], []
    unread: list[OSError] = []
    photos = [
        Path(folder, name)
        for folder, _, names in os.walk(source, onerror=unread.append)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    ]
    return sorted(photos), unread


def stems(photos: Sequence[Path]) -> dict[Path, str]:
    """What the faces of each photo are named after, no two in a folder after the same.

    The photo's name without its suffix, or with it where several photos differ in that alone.
    """
    sharing = Counter((photo.parent, photo.stem) for photo in photos)
    found: dict[Path, str] = {}
    taken: set[tuple[Path, str]] = set()
    for photo in sorted(photos, key=lambda photo: sharing[photo.parent, photo.stem] > 1):
        name = photo.stem if sharing[photo.parent, photo.stem] == 1 else photo.name
        while (photo.parent, name) in taken:
            name += photo.suffix
        taken.add((photo.parent, name))
        found[photo] = name
    return found


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
            tqdm.write(printable(f"{name(item)}: {error}"), file=sys.stderr)
        except Exception as error:  # noqa: BLE001  (a bug on one photo must not cost the others)
            failures += 1
            told = printable(f"{name(item)}: {type(error).__name__}: {error}")
            tqdm.write(told, file=sys.stderr)
        else:
            tqdm.write(printable(done))
    return failures


def fail(message: str) -> int:
    """Say in one line why nothing could be done; the command's exit status."""
    print(printable(f"error: {message}"), file=sys.stderr)
    return 1
