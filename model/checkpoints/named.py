"""Finds weights by the names that ``gpen weights list`` shows, where the service looks for them."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from model.checkpoints.lookup import find, find_safe
from model.checkpoints.table import BUNDLED_DIR, WEIGHTS, CheckpointError, WeightsFile


def named(source: Path) -> WeightsFile | None:
    """The table's entry for a name; None for a file or an unknown name."""
    if source.is_file():
        return None
    return next((weights for weights in WEIGHTS if weights.name == str(source)), None)


def weights_file(source: Path) -> Path:
    """The file that a setting refers to, by its path or by a name of the table.

    Raises CheckpointError, which says how to download the file, if a named one is not on this
    machine.
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
    """The path of a file that no setting names, if it is here and other users cannot write it."""
    return find_safe(weights, *_folders())


def _folders() -> tuple[Path, Path]:
    """WEIGHTS_DIR and CACHE_DIR, as in the settings of the service."""
    return (
        Path(os.environ.get("GPEN_WEIGHTS_DIR") or BUNDLED_DIR),
        Path(os.environ.get("GPEN_CACHE_DIR") or platformdirs.user_cache_dir("gpen-portrait")),
    )
