"""Finds the photos of a folder, and decides where each result is written.

Only one folder's names are in memory at a time.
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
"""Formats by the suffixes of files that are written."""


@dataclass(frozen=True)
class Job:
    number: int
    """Its position in the plan."""
    source: Path
    target: Path
    done: bool
    """Whether the target exists already and, as far as is known, was made from this source."""
    fault: str = ""
    """Why no photo of a folder can be restored; the source is then that folder."""


@dataclass(frozen=True)
class Task:
    """A folder to restore."""

    source: Path
    target: Path
    wanted: OutputFormat
    resume: bool
    """Whether to skip photos that are done."""

    def jobs(self) -> Iterator[Job]:
        """The jobs to do.  Raises OSError."""
        for job in plan(self.source, self.target, self.wanted):
            if not (self.resume and job.done):
                yield job


@dataclass(frozen=True)
class Survey:
    """The number of photos, and of those that are done."""

    photos: int
    """A folder that cannot be read or written to counts as one."""
    done: int


@dataclass(frozen=True)
class _Folder:
    source: Path
    target: Path
    photos: list[str]
    written: set[str]
    """All names in the target folder."""
    fault: str = ""
    """Why it cannot be read or written to, if it cannot."""


def plan(source: Path, target: Path, wanted: OutputFormat) -> Iterator[Job]:
    """Yield a job for each photo of a folder and its subfolders, always in the same order.

    Raises OSError if the folder itself cannot be read; a subfolder that cannot is a job with a
    ``fault``.

    The target has the same subfolders.  The suffix of a result is that of its format; BMP and TIFF
    are not written, so their results are PNG.  If two results would have the same name, it goes to
    the photo of that name, or else to the first, and the other keeps its old suffix as well.  A
    target folder inside ``source`` is not searched.
    """
    number = 0
    for folder in _folders(source, target):
        for job in _jobs(folder, wanted, number):
            yield job
            number = job.number + 1


def survey(source: Path, target: Path, wanted: OutputFormat) -> Survey:
    """Count the photos, and remove incomplete files of runs that were killed.  Raises OSError."""
    photos = done = 0
    for folder in _folders(source, target):
        for job in _jobs(folder, wanted, photos):
            photos += 1
            done += job.done
        for name in filter(is_unfinished, folder.written):
            (folder.target / name).unlink(missing_ok=True)
    return Survey(photos, done)


def named(target: Path, wanted: OutputFormat) -> Path:
    """The path with the suffix of its format."""
    own_format = FORMATS.get(target.suffix.lower())
    if own_format is not None and wanted in ("same", own_format):
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
            yield _folder(folder, source, target, photos)
    yield from _unreadable(unread, source, target)


def _unreadable(errors: list[OSError], source: Path, target: Path) -> Iterator[_Folder]:
    """Folders that could not be read; empties ``errors``.  Raises the error of ``source``."""
    while errors:
        error = errors.pop(0)
        folder = Path(error.filename or source)
        if folder == source:
            raise error
        yield _Folder(folder, target / folder.relative_to(source), [], set(), _reason(error))


def _folder(folder: Path, source: Path, target: Path, photos: list[str]) -> _Folder:
    results = target
    for part in folder.relative_to(source).parts:
        results /= part
        if results.is_symlink():
            fault = f"{results} is a link, and nothing is written through links"
            return _Folder(folder, results, photos, set(), fault)
    try:
        written = set(os.listdir(results)) if results.is_dir() else set()  # noqa: PTH208  (names)
    except OSError as error:
        return _Folder(folder, results, photos, set(), f"{results}: {_reason(error)}")
    return _Folder(folder, results, photos, written)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _jobs(folder: _Folder, wanted: OutputFormat, first: int) -> Iterator[Job]:
    if folder.fault:
        yield Job(first, folder.source, folder.target, done=False, fault=folder.fault)
        return
    names = {photo: named(Path(photo), wanted).name for photo in folder.photos}
    claims = Counter(names.values())
    taken = {photo for photo, name in names.items() if photo == name}
    for number, (photo, wanted_name) in enumerate(names.items(), first):
        name = wanted_name
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
    """Whether a result was made from the current version of this photo.

    ``known`` is the answer if the result has no record of its origin.
    """
    label = label_of(target)
    try:
        return known if label is None else label == Origin.of(source).label
    except OSError:  # it will be reported when the photo is read
        return False
