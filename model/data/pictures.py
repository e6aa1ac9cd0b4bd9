"""Finding and reading pictures of aligned, square faces, and pairs of them.

A picture that cannot be used is logged once and left out: in a set of a hundred thousand, some are
always broken, and one of them must not end a training after hours.  Many unusable pictures are a
sign that the set itself is wrong, so ``TooManyUnusableError`` is raised.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from model.data.crops import Picture, centre_crop

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LOW, HIGH = "lq", "hq"
"""Names of the folders with the halves of pairs."""


class TooManyUnusableError(ValueError):
    """More pictures are unusable than ``data.max_unusable`` allows."""


def find_faces(folder: Path) -> list[Path]:
    """Pictures in a folder and its subfolders, sorted by path.

    Links to folders are followed; a folder with several paths is searched once.  Raises
    FileNotFoundError if there are no pictures.
    """
    paths = sorted(path for path in _files(folder) if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no pictures in {folder}")
    return paths


def _files(folder: Path) -> Iterator[Path]:
    seen: set[Path] = set()
    waiting = deque([folder])  # links come last, so that real folders keep their own paths
    while waiting:
        for parent, folders, names in os.walk(waiting.popleft()):
            real = Path(parent).resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            inside = [Path(parent, name) for name in sorted(folders)]
            waiting.extend(path for path in inside if path.is_symlink())
            yield from (Path(parent, name) for name in names)


def split_holdout(folder: Path, holdout: Path | None) -> tuple[list[Path], list[Path]]:
    """Divide the faces of ``folder`` into those to train on and those that are held out.

    ``holdout`` lists the latter, one path per line, relative to the list's own folder.  Raises
    FileNotFoundError for a listed picture that is not in ``folder``.
    """
    return hold_out(find_faces(folder), holdout)


def hold_out(faces: Sequence[Path], holdout: Path | None) -> tuple[list[Path], list[Path]]:
    """Like ``split_holdout``, for a list of faces, from any number of folders."""
    if holdout is None:
        return list(faces), []
    lines = [line.strip() for line in holdout.read_text().splitlines()]
    listed = {(holdout.parent / line).resolve() for line in lines if line}
    held_out = [path for path in faces if path.resolve() in listed]
    missing = sorted(listed - {path.resolve() for path in held_out})
    if missing:
        raise FileNotFoundError(f"{holdout} lists {missing[0]}, which is not among the faces")
    return [path for path in faces if path.resolve() not in listed], held_out


def find_weighted(folder: Path, weights: Mapping[Path, float]) -> dict[Path, float]:
    """Pictures in some folders, each with the weight of its folder.

    Paths are relative to ``folder``, or absolute.  Without any, all of ``folder`` has weight 1.
    Raises FileNotFoundError if a folder has no pictures, ValueError if folders overlap.
    """
    if not weights:
        return dict.fromkeys(find_faces(folder), 1.0)
    weighted: dict[Path, float] = {}
    for part, weight in weights.items():
        faces = find_faces(folder / part)
        if twice := weighted.keys() & set(faces):
            raise ValueError(f"{min(twice)} is in {part} and in another folder of data.folders")
        weighted |= dict.fromkeys(faces, weight)
    return weighted


def holds_pairs(folder: Path) -> bool:
    """Whether a folder contains pairs, in ``lq/`` and ``hq/``."""
    return (folder / LOW).is_dir() and (folder / HIGH).is_dir()


class FoundPairs(NamedTuple):
    pairs: list[tuple[Path, Path]]
    """LQ and HQ, sorted by name."""
    unmatched: list[str]
    """A message for each picture that has no counterpart."""


def find_pairs(folder: Path) -> FoundPairs:
    """Pairs of a folder: pictures with the same path in ``lq/`` and ``hq/``, except for suffixes.

    Raises FileNotFoundError if a half has no pictures, ValueError if two pictures of a half have
    the same name.
    """
    low, high = (_by_name(folder / half) for half in (LOW, HIGH))
    unmatched = [
        f"{path} has no counterpart in {other}/"
        for half, theirs, other in ((low, high, HIGH), (high, low, LOW))
        for name, path in half.items()
        if name not in theirs
    ]
    pairs = [(low[name], high[name]) for name in sorted(low.keys() & high.keys())]
    return FoundPairs(pairs, unmatched)


def _by_name(folder: Path) -> dict[Path, Path]:
    paths = find_faces(folder)
    names = [path.relative_to(folder).with_suffix("") for path in paths]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{folder} has {count} pictures named {name}")
    return dict(zip(names, paths, strict=True))


def read_face(path: Path, size: int | None = None, margin: float = 0.0) -> Picture:
    """Read a square picture and cut out the face inside its margin: (size, size, 3) RGB.

    Without a size, the whole picture is returned.  Raises ValueError.
    """
    try:
        # not ``imread``, which fills the missing part of a truncated JPEG with grey
        image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    except (OSError, cv2.error) as error:  # cv2.error for empty files and gigapixels
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if image is None:
        raise ValueError(f"{path} cannot be read as a picture")
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"{path} is not square: {image.shape[1]}x{image.shape[0]}")
    picture = np.asarray(image, dtype=np.uint8)
    return picture if size is None else centre_crop(picture, size, margin)


def read_faces(
    paths: list[Path], size: int, margin: float = 0.0, *, spare: int | None = None
) -> NDArray[np.uint8]:
    """Read square faces like ``read_groups``: (N, size, size, 3) RGB."""
    faces: NDArray[np.uint8] = read_groups([(path,) for path in paths], size, margin, spare=spare)[
        :, 0
    ]
    return faces


def read_groups(
    groups: Sequence[tuple[Path, ...]],
    size: int,
    margin: float = 0.0,
    *,
    spare: int | None = None,
) -> NDArray[np.uint8]:
    """Read groups of K square faces, such as pairs: (N, K, size, size, 3) RGB.

    Unusable groups are logged and left out.  Raises TooManyUnusableError if there are more than
    ``spare`` of them, and ValueError if no group can be used.
    """
    read = []
    for group in groups:
        try:
            read.append(np.stack([read_face(path, size, margin) for path in group]))
        except ValueError as error:
            log.warning("skipped: %s", error)
    if not read:
        raise ValueError(f"none of {len(groups)} pictures can be used")
    _check_spare(len(groups) - len(read), len(groups), spare)
    return np.stack(read)


def _check_spare(unusable: int, total: int, spare: int | None) -> None:
    if spare is not None and unusable > spare:
        raise TooManyUnusableError(
            f"{unusable} of {total} pictures cannot be decoded, which is more than "
            "data.max_unusable allows; the log names them"
        )


class PictureFiles:
    """Groups of K pictures, such as pairs, read on demand: each (K, size, size, 3) RGB.

    Without a size, pictures keep their own.

    An unusable group is replaced by a usable one that depends on the index and the files alone, and
    differs between indices, so that no group is used much more often than others.  Each unusable
    group is logged once, over all processes of a loader.  There may be ``spare`` of them, or any
    number if it is None.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Path, ...]],
        size: int | None,
        margin: float = 0.0,
        *,
        spare: int | None = None,
    ) -> None:
        self._groups = list(groups)
        self._size, self._margin, self._spare = size, margin, spare
        unusable = torch.zeros(len(self._groups), dtype=torch.bool)
        self._unusable = unusable.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Raises ValueError if no group can be used, TooManyUnusableError beyond ``spare``."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        for candidate in chain([index], self._substitutes(index)):
            try:
                group = self._groups[candidate]
                return np.stack([read_face(path, self._size, self._margin) for path in group])
            except ValueError as error:
                if not self._unusable[candidate]:
                    self._unusable[candidate] = True
                    log.warning("skipped: %s", error)
                _check_spare(int(self._unusable.sum()), len(self), self._spare)
        raise ValueError(f"none of {len(self)} pictures can be used")

    def _substitutes(self, index: int) -> Iterator[int]:
        """All indices, in a random order that depends on ``index``."""
        yield from np.random.default_rng(index).permutation(len(self))


class FaceFiles:
    """Faces read on demand, like ``PictureFiles``: each (size, size, 3) RGB."""

    def __init__(
        self,
        paths: Sequence[Path],
        size: int | None,
        margin: float = 0.0,
        *,
        spare: int | None = None,
    ) -> None:
        self._files = PictureFiles([(path,) for path in paths], size, margin, spare=spare)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Picture:
        face: Picture = self._files[index][0]
        return face
