"""Which photos there are, and where each is written.

One folder's names are in memory at a time, however many folders there are.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.bulk.files import is_unfinished
from app.bulk.origin import Origin, label_of
from app.imaging.formats import SUFFIXES
from app.options import OutputFormat

FORMATS: dict[str, OutputFormat] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".webp": "webp",
    ".avif": "avif",
}
"""Of suffixes that are written."""


@dataclass(frozen=True)
class Job:
    number: int
    """Among all photos, in the order of the plan."""
    source: Path
    target: Path
    done: bool
    """Whether there is a target already that was made from this source, as far as is known."""
    fault: str = ""
    """Of a folder whose photos cannot be restored: why.  The folder is then the source."""


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
    """How many photos there are, and how many of them are done."""

    photos: int
    """A folder that cannot be read, or written to, counts as one."""
    done: int


@dataclass(frozen=True)
class _Folder:
    source: Path
    target: Path
    photos: list[str]
    written: set[str]
    """Whatever is in the target folder."""
    fault: str = ""
    """Why it cannot be read or written to."""


def plan(source: Path, target: Path, wanted: OutputFormat) -> Iterator[Job]:
    """What is to be done for a folder, in an order that stays.

    Raises OSError when the folder itself cannot be read; one below it that cannot is a job with a
    ``fault``.

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
    unread: list[OSError] = []
    for place, folders, files in os.walk(source, onerror=unread.append):
        yield from _unreadable(unread, source, target)
        folder = Path(place)
        folders[:] = sorted(name for name in folders if (folder / name).resolve() != left_out)
        photos = sorted(name for name in files if Path(name).suffix.lower() in SUFFIXES)
        if photos:
            yield _with_what_is_written(folder, source, target, photos)
    yield from _unreadable(unread, source, target)


def _unreadable(errors: list[OSError], source: Path, target: Path) -> Iterator[_Folder]:
    """Those that could not be read; ``errors`` is empty afterwards.  Raises that of ``source``."""
    while errors:
        error = errors.pop(0)
        folder = Path(error.filename or source)
        if folder == source:
            raise error
        yield _Folder(folder, target / folder.relative_to(source), [], set(), _reason(error))


def _with_what_is_written(folder: Path, source: Path, target: Path, photos: list[str]) -> _Folder:
    there = target
    for part in folder.relative_to(source).parts:
        there /= part
        if there.is_symlink():
            fault = f"{there} is a link, and nothing is written through links"
            return _Folder(folder, there, photos, set(), fault)
    try:
        written = set(os.listdir(there)) if there.is_dir() else set()  # noqa: PTH208  (names)
    except OSError as error:
        return _Folder(folder, there, photos, set(), f"{there}: {_reason(error)}")
    return _Folder(folder, there, photos, written)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _jobs(folder: _Folder, wanted: OutputFormat, first: int) -> Iterator[Job]:
    if folder.fault:
        yield Job(first, folder.source, folder.target, done=False, fault=folder.fault)
        return
    names = {photo: named(Path(photo), wanted).name for photo in folder.photos}
    claims = Counter(names.values())
    taken = {photo for photo, name in names.items() if photo == name}
    for number, (photo, kept) in enumerate(names.items(), first):
        name = kept
        if photo != name:
            if name in taken:
                name = photo + Path(name).suffix
            while name in taken:
                name += Path(name).suffix
            taken.add(name)
        source, target = folder.source / photo, folder.target / name
        done = name in folder.written and is_made_from(target, source, known=claims[name] < 2)
        yield Job(number, source, target, done)


def is_made_from(target: Path, source: Path, *, known: bool = True) -> bool:
    """Whether a result was made from this photo, as it is now.

    ``known`` is the answer where nothing is kept with the result about that.
    """
    label = label_of(target)
    try:
        return known if label is None else label == Origin.of(source).label
    except OSError:  # it will be told when the photo is read
        return False
