"""Listing, downloading and verifying weights, for ``gpen weights``."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from app.commands.photos import fail
from model.checkpoints.download import download
from model.checkpoints.lookup import find
from model.checkpoints.table import WEIGHTS, Checkpoint, CheckpointError, weights_named
from model.checkpoints.verification import verify
from model.state_dicts import WeightsError

_HEADINGS = ("NAME", "FACE", "FILE", "WHERE", "LICENCE")


def table(weights_dir: Path, cache_dir: Path) -> str:
    """A table of all weights: name, size of the face and of the file, path, licence."""
    rows = [_HEADINGS]
    for weights in WEIGHTS:
        path = find(weights, weights_dir, cache_dir)
        face = f"{weights.architecture.size} px" if isinstance(weights, Checkpoint) else "-"
        size = f"{path.stat().st_size / 1e6:.1f} MB" if path else "-"
        rows.append((weights.name, face, size, str(path or "not on this machine"), weights.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def fetch(name: str, weights_dir: Path, cache_dir: Path) -> Path:
    """Download weights unless they are on this machine, and verify them.  Shows a progress bar.

    Returns the file.  Raises CheckpointError or WeightsError.
    """
    weights = weights_named(name)
    path = find(weights, weights_dir, cache_dir)
    if path is None:
        with tqdm(desc=weights.name, unit="B", unit_scale=True, delay=0.1) as bar:

            def show(received: int, total: int) -> None:
                bar.total = total
                bar.update(received - bar.n)

            path = download(weights, weights_dir, cache_dir, progress=show)
    verify(weights, path)
    return path


def verify_here(name: str | None, weights_dir: Path, cache_dir: Path) -> int:
    """Verify the weights of this name, or all weights on this machine, and print a line for each.

    Returns the exit status.  Raises CheckpointError if the name is unknown, or its weights are not
    on this machine.
    """
    status = 0
    for weights in WEIGHTS if name is None else (weights_named(name),):
        path = find(weights, weights_dir, cache_dir)
        if path is None:
            if name is not None:
                raise CheckpointError(f"{name} is not on this machine")
            continue
        try:
            checked = verify(weights, path)
        except WeightsError as error:
            status = fail(f"{weights.name}: {error}")
        else:
            print(f"{weights.name}: {path} is good (checked: {', '.join(checked)})")
    return status
