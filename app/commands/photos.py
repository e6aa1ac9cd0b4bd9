"""Finding and processing photos on disk, for the commands that take a folder."""

from __future__ import annotations

import errno
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from app.errors import ServiceError
from app.imaging.formats import SUFFIXES
from app.text import printable


def find_photos(source: Path) -> tuple[list[Path], list[OSError]]:
    """A single photo, or all photos of a folder and its subfolders, and the errors of subfolders
    that cannot be read.  Raises FileNotFoundError.
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
    """The name that each photo's faces start with, which is unique within its folder.

    It is the photo's name without its suffix, or with it if several photos differ only in the
    suffix.
    """
    counts = Counter((photo.parent, photo.stem) for photo in photos)
    names: dict[Path, str] = {}
    taken: set[tuple[Path, str]] = set()
    for photo in sorted(photos, key=lambda photo: counts[photo.parent, photo.stem] > 1):
        name = photo.stem if counts[photo.parent, photo.stem] == 1 else photo.name
        while (photo.parent, name) in taken:
            name += photo.suffix
        taken.add((photo.parent, name))
        names[photo] = name
    return names


def for_each(photos: Sequence[Path], work: Callable[[Path], str]) -> int:
    """Process photos, print the line that ``work`` returns for each, and show a progress bar.

    Returns how many failed.  A failure is printed to stderr and does not stop the others.
    """
    failures = 0
    for photo in tqdm(photos, unit="photo", disable=len(photos) < 2):
        try:
            tqdm.write(printable(work(photo)))
        except (ServiceError, OSError) as error:
            failures += 1
            tqdm.write(printable(f"{photo}: {error}"), file=sys.stderr)
        except Exception as error:  # noqa: BLE001  (a bug on one photo must not stop the others)
            failures += 1
            message = printable(f"{photo}: {type(error).__name__}: {error}")
            tqdm.write(message, file=sys.stderr)
    return failures


def fail(message: str) -> int:
    """Print one line that says why the command failed, and return its exit status."""
    print(printable(f"error: {message}"), file=sys.stderr)
    return 1
