"""Weights by the names that ``gpen weights list`` shows, in the places where the service looks."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from model.checkpoints.lookup import find, find_safe
from model.checkpoints.table import BUNDLED_DIR, WEIGHTS, CheckpointError, WeightsFile


def named(source: Path) -> WeightsFile | None:
    """What the table says of a name; None for a file, or where there is no such name."""
    if source.is_file():
        return None
    return next((weights for weights in WEIGHTS if weights.name == str(source)), None)


def weights_file(source: Path) -> Path:
    """The file that a setting means: a path as it is, a name of the table where its file lies.

    Raises CheckpointError, which says how to download it, for a name whose file is not here.
    """
    weights = named(source)
    if weights is None:
        return source
    path = find(weights, *_folders())
    if path is None:
        raise CheckpointError(
            f"{weights.name} is not on this machine: `gpen weights download {weights.name}` "
            "fetches it"
        )
    return path


def optional_file(weights: WeightsFile) -> Path | None:
    """Where a file lies that nobody has asked for, if it is here and nobody else can write it."""
    return find_safe(weights, *_folders())


def _folders() -> tuple[Path, Path]:
    """WEIGHTS_DIR and CACHE_DIR, as the service's settings have them."""
    return (
        Path(os.environ.get("GPEN_WEIGHTS_DIR") or BUNDLED_DIR),
        Path(os.environ.get("GPEN_CACHE_DIR") or platformdirs.user_cache_dir("gpen-portrait")),
    )
