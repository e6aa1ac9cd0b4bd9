"""Finding and reading pictures of aligned, square faces, and pairs of them.

A picture that cannot be used is told of once and left out: of a hundred thousand, some always are
broken, and training must not end hours in because of one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from model.data.crops import Picture, centre_crop

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LOW, HIGH = "lq", "hq"
"""Folders of a pair's halves."""


def find_faces(folder: Path) -> list[Path]:
    """Pictures under a folder, sorted by path.  Raises FileNotFoundError if there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no pictures in {folder}")
    return paths


def split_holdout(folder: Path, holdout: Path | None) -> tuple[list[Path], list[Path]]:
    """Faces to train on and faces never to train on.

    ``holdout`` lists the latter, one path a line, relative to the list's own folder.  Raises
    FileNotFoundError for a listed picture that is not in ``folder``.
    """
    return hold_out(find_faces(folder), holdout)


def hold_out(faces: Sequence[Path], holdout: Path | None) -> tuple[list[Path], list[Path]]:
    """``split_holdout``, of faces that have been found already, in any number of folders."""
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
    """Pictures under some folders, each with its folder's weight.

    Folders are relative to ``folder``, or absolute; without any, it is all of ``folder``, with
    weight 1.  Raises FileNotFoundError if one has no pictures, ValueError if they overlap.
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
    """Whether a folder is one of pairs, in ``lq/`` and ``hq/``."""
    return (folder / LOW).is_dir() and (folder / HIGH).is_dir()


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Pairs (LQ, HQ) of a folder, sorted by name: the same paths in ``lq/`` and ``hq/``, suffixes
    aside.

    Raises FileNotFoundError where a half has no pictures, ValueError where names do not match.
    """
    low, high = (_by_name(folder / half) for half in (LOW, HIGH))
    for half, lonely in ((LOW, low.keys() - high.keys()), (HIGH, high.keys() - low.keys())):
        if lonely:
            other = HIGH if half == LOW else LOW
            raise ValueError(
                f"{folder}: {len(lonely)} of {half}/ without counterpart in {other}/, "
                f"such as {min(lonely)}"
            )
    return [(low[name], high[name]) for name in sorted(low)]


def _by_name(folder: Path) -> dict[Path, Path]:
    paths = find_faces(folder)
    names = [path.relative_to(folder).with_suffix("") for path in paths]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{folder} holds {count} pictures called {name}")
    return dict(zip(names, paths, strict=True))


def read_face(path: Path, size: int | None = None, margin: float = 0.0) -> Picture:
    """Read a square picture and cut out the face inside its margin: (size, size, 3) RGB.

    Without a size, it is left as it is.  Raises ValueError.
    """
    try:
        # in one go: of a JPEG that breaks off, ``imread`` would return half, and grey
        image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    except (OSError, cv2.error) as error:  # the latter of empty files and of gigapixels
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if image is None:
        raise ValueError(f"{path} cannot be read as a picture")
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"{path} is not square: {image.shape[1]}x{image.shape[0]}")
    picture = np.asarray(image, dtype=np.uint8)
    return picture if size is None else centre_crop(picture, size, margin)


def read_faces(paths: list[Path], size: int, margin: float = 0.0) -> NDArray[np.uint8]:
    """Read square faces: (N, size, size, 3) RGB.

    Pictures that cannot be used are logged and left out; ValueError is raised if none is left.
    """
    faces: NDArray[np.uint8] = read_groups([(path,) for path in paths], size, margin)[:, 0]
    return faces


def read_groups(
    groups: Sequence[tuple[Path, ...]], size: int, margin: float = 0.0
) -> NDArray[np.uint8]:
    """Read groups of K square faces, such as pairs: (N, K, size, size, 3) RGB.

    Groups that cannot be used are logged and left out; ValueError is raised if none is left.
    """
    read = []
    for group in groups:
        try:
            read.append(np.stack([read_face(path, size, margin) for path in group]))
        except ValueError as error:
            log.warning("skipped: %s", error)
    if not read:
        raise ValueError(f"none of {len(groups)} pictures can be used")
    return np.stack(read)


class PictureFiles:
    """Groups of K pictures, such as pairs, read when asked for: each (K, size, size, 3) RGB.

    Without a size, pictures are as large as they are.

    In place of a group that cannot be used comes the next one that can; which, depends on the files
    alone.  It is logged the first time, over all processes of a loader.
    """

    def __init__(
        self, groups: Sequence[tuple[Path, ...]], size: int | None, margin: float = 0.0
    ) -> None:
        self._groups = list(groups)
        self._size, self._margin = size, margin
        told = torch.zeros(len(self._groups), dtype=torch.bool)
        self._told = told.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Raises ValueError if no group at all can be used."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        for place in (*range(index, len(self)), *range(index)):
            try:
                group = self._groups[place]
                return np.stack([read_face(path, self._size, self._margin) for path in group])
            except ValueError as error:
                if not self._told[place]:
                    self._told[place] = True
                    log.warning("skipped: %s", error)
        raise ValueError(f"none of {len(self)} pictures can be used")


class FaceFiles:
    """Faces read when asked for: each (size, size, 3) RGB, as of ``PictureFiles``."""

    def __init__(self, paths: Sequence[Path], size: int | None, margin: float = 0.0) -> None:
        self._files = PictureFiles([(path,) for path in paths], size, margin)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Picture:
        face: Picture = self._files[index][0]
        return face
