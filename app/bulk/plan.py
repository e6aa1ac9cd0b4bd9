"""Which photos there are, and where each is written.

One folder's names are in memory at a time, however many folders there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from app.bulk.files import is_unfinished
from app.options import OutputFormat

FORMATS: dict[str, OutputFormat] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".webp": "webp",
}
"""Of suffixes that are written."""
SUFFIXES = {*FORMATS, ".bmp", ".tif", ".tiff", ".heic", ".heif", ".hif"}
"""Of photos."""


@dataclass(frozen=True)
class Job:
    number: int
    """Among all photos, in the order of the plan."""
    source: Path
    target: Path
    done: bool
    """Whether there is a target already."""


@dataclass(frozen=True)
class Task:
    """A folder to restore."""

    source: Path
    target: Path
    wanted: OutputFormat
    resume: bool
    """Whether to leave out what is done."""

    def jobs(self) -> Iterator[Job]:
        """Those to do.  Raises OSError."""
        for job in plan(self.source, self.target, self.wanted):
            if not (self.resume and job.done):
                yield job


@dataclass(frozen=True)
class Survey:
    """How many photos there are, and how many of them have a target already."""

    photos: int
    done: int


@dataclass(frozen=True)
class _Folder:
    source: Path
    target: Path
    photos: list[str]
    written: set[str]
    """Whatever is in the target folder."""


def plan(source: Path, target: Path, wanted: OutputFormat) -> Iterator[Job]:
    """What is to be done for a folder, in an order that stays.  Raises OSError.

    The structure is kept.  A name ends as its format does (BMP and TIFF are read, not written:
    their results are PNG); where two photos would get the same name, the one whose own it is gets
    it, else the first, and the other keeps its old suffix too.  A target folder within ``source``
    is none of the photos.
    """
    number = 0
    for folder in _folders(source, target):
        for job in _jobs(folder, wanted, number):
            yield job
            number = job.number + 1


def survey(source: Path, target: Path, wanted: OutputFormat) -> Survey:
    """Count, and remove what a run that was killed has left unfinished.  Raises OSError."""
    photos = done = 0
    for folder in _folders(source, target):
        for job in _jobs(folder, wanted, photos):
            photos += 1
            done += job.done
        for name in filter(is_unfinished, folder.written):
            (folder.target / name).unlink(missing_ok=True)
    return Survey(photos, done)


def named(target: Path, wanted: OutputFormat) -> Path:
    """With a suffix that says the format."""
    kept = FORMATS.get(target.suffix.lower())
    if kept is not None and wanted in ("same", kept):
        return target
    return target.with_suffix(".png" if wanted == "same" else f".{wanted}")


def _folders(source: Path, target: Path) -> Iterator[_Folder]:
    left_out = target.resolve() if target.resolve() != source.resolve() else None
    for place, folders, files in os.walk(source, onerror=_raise):
        folder = Path(place)
        folders[:] = sorted(name for name in folders if (folder / name).resolve() != left_out)
        photos = sorted(name for name in files if Path(name).suffix.lower() in SUFFIXES)
        if photos:
            there = target / folder.relative_to(source)
            written = set(os.listdir(there)) if there.is_dir() else set()  # noqa: PTH208  (names)
            yield _Folder(folder, there, photos, written)


def _jobs(folder: _Folder, wanted: OutputFormat, first: int) -> Iterator[Job]:
    names = {photo: named(Path(photo), wanted).name for photo in folder.photos}
    taken = {photo for photo, name in names.items() if photo == name}
    for number, (photo, kept) in enumerate(names.items(), first):
        name = kept
        if photo != name:
            if name in taken:
                name = photo + Path(name).suffix
            while name in taken:
                name += Path(name).suffix
            taken.add(name)
        done = name in folder.written
        yield Job(number, folder.source / photo, folder.target / name, done)


def _raise(error: OSError) -> NoReturn:
    raise error
