"""Divides faces into those to train on and those to validate on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.data.config import DataConfig
from model.data.pictures import hold_out

log = logging.getLogger(__name__)

_LARGEST_SHARE = 10
"""By default, at most one face in this many is held out."""
_SIZES = 100
"""How many file sizes are part of a fingerprint, since other faces may have the same names."""


@dataclass(frozen=True)
class Split:
    """Faces to train on, and faces to validate on (possibly none).  For pairs, the HQ halves."""

    trained_on: list[Path]
    held_out: list[Path]

    def fingerprint(self, folder: Path) -> str:
        """A digest of the faces and the holdout, which stays the same if ``folder`` is moved."""
        digest = hashlib.sha256()
        for paths in (self.trained_on, self.held_out):
            digest.update(f"{len(paths)} faces\n".encode())
            for path in paths:
                digest.update(f"{_name(path, folder)}\n".encode())
            for path in paths[:: max(1, len(paths) // _SIZES)]:
                digest.update(f"{path.stat().st_size}\n".encode())
        return digest.hexdigest()


def split_faces(faces: Sequence[Path], folder: Path, data: DataConfig) -> Split:
    """Hold out the faces that ``data.holdout`` lists, or else ``data.holdout_count`` faces.

    The latter are chosen by their names below ``folder`` alone.  Raises OSError for a list that
    cannot be read or names other faces, and ValueError if no faces remain to train on.
    """
    if data.holdout is not None:
        split = Split(*hold_out(faces, data.holdout))
        if not split.trained_on:
            raise ValueError(f"no faces remain to train on: {data.holdout} lists all of {folder}")
        return split
    count = min(data.holdout_count, len(faces) // _LARGEST_SHARE)
    if count == 0:
        log.warning(
            "warning: no faces are held out, so validation uses faces that are trained on; set "
            "data.holdout or data.holdout_count"
        )
        return Split(list(faces), [])
    chosen = set(sorted(faces, key=lambda path: _rank(_name(path, folder)))[:count])
    log.info("%d of %d faces are held out for validation", count, len(faces))
    return Split([path for path in faces if path not in chosen], [p for p in faces if p in chosen])


def _name(path: Path, folder: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _rank(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
