"""Which faces are trained on, and which are kept from training, to validate on."""

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
"""At most one face in this many is set aside by default."""
_SIZES = 100
"""Files whose size is part of a fingerprint: other faces may well have the same names."""


@dataclass(frozen=True)
class Split:
    """Faces to train on, and faces to validate on, which may be none.  Of pairs, the HQ halves."""

    trained_on: list[Path]
    held_out: list[Path]

    def fingerprint(self, folder: Path) -> str:
        """A digest that tells other faces, or another holdout, even when ``folder`` was moved."""
        digest = hashlib.sha256()
        for paths in (self.trained_on, self.held_out):
            digest.update(f"{len(paths)} faces\n".encode())
            for path in paths:
                digest.update(f"{_name(path, folder)}\n".encode())
            for path in paths[:: max(1, len(paths) // _SIZES)]:
                digest.update(f"{path.stat().st_size}\n".encode())
        return digest.hexdigest()


def split_faces(faces: Sequence[Path], folder: Path, data: DataConfig) -> Split:
    """Hold out what ``data.holdout`` lists, or ``data.holdout_count`` faces where it lists none.

    Which ones depends on their names below ``folder`` alone.  Raises OSError for a list that cannot
    be read or names other faces, ValueError if nothing is left to train on.
    """
    if data.holdout is not None:
        split = Split(*hold_out(faces, data.holdout))
        if not split.trained_on:
            raise ValueError(f"nothing to train on: {data.holdout} lists all of {folder}")
        return split
    count = min(data.holdout_count, len(faces) // _LARGEST_SHARE)
    if count == 0:
        log.warning(
            "warning: no faces are set aside, so validation is on faces that are trained on: "
            "data.holdout names some"
        )
        return Split(list(faces), [])
    chosen = set(sorted(faces, key=lambda path: _rank(_name(path, folder)))[:count])
    log.info("%d faces of %d are set aside to validate on", count, len(faces))
    return Split([path for path in faces if path not in chosen], [p for p in faces if p in chosen])


def _name(path: Path, folder: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _rank(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
