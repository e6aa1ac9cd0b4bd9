"""Finds the weights file for a name on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.checkpoints import table
from model.checkpoints.download import (
    DEFAULT_PATIENCE,
    Patience,
    Progress,
    download,
    modelscope_dir,
    web_file,
)
from model.checkpoints.generator import is_onnx, read_metadata
from model.checkpoints.ownership import others_can_write
from model.checkpoints.table import (
    AUTO_ORDER,
    CHECKPOINTS,
    MODELSCOPE_OWNERS,
    Checkpoint,
    CheckpointError,
    ModelScopeFile,
    WeightsFile,
)
from model.checkpoints.templates import TEMPLATE_NAMES

log = logging.getLogger(__name__)

AUTO = "auto"
UNKNOWN_LICENCE = "unknown"
DEFAULT_TEMPLATE = "gpen"
ONNX_TEMPLATE = "ffhq"
"""Of face restorers that other projects distribute as ONNX files."""


@dataclass(frozen=True)
class Resolved:
    """The generator to serve."""

    name: str
    path: Path
    licence: str
    template: str
    """Name of its alignment template, one of ``model.checkpoints.templates``."""


def find(weights: WeightsFile, weights_dir: Path, cache_dir: Path) -> Path | None:
    """Find the file without the network, in the first of these places:

    - ``weights_dir``, under one of ``weights.local_names``;
    - the folder of bundled weights, if it is a bundled one;
    - ModelScope's cache (``MODELSCOPE_CACHE``, or ModelScope's default);
    - ``cache_dir``, which has this project's downloads.
    """
    return next((path for path, _ in _places(weights, weights_dir, cache_dir)), None)


def find_safe(weights: WeightsFile, weights_dir: Path, cache_dir: Path) -> Path | None:
    """Like :func:`find`, for files that the user has not asked for by name.

    Files that other users can write, or that are in a folder which they can write, are ignored with
    a warning in the log.  Bundled files are as safe as the code beside them.
    """
    bundled = table.BUNDLED_DIR / weights.file_name
    for path, root in _places(weights, weights_dir, cache_dir):
        exposed = None if weights.bundled and path == bundled else _exposed(path, root)
        if exposed is None:
            return path
        log.warning(
            "%s is not used because other users can write %s (set MODEL to use a model anyway)",
            path,
            exposed,
        )
    return None


def _exposed(path: Path, root: Path) -> Path | None:
    """The first of a file, its real folder, and the folders up to ``root``, that others can write.

    None if only this user, root and the owners can write them.
    """
    above = [folder for folder in path.parents if folder.is_relative_to(root)]
    return next(filter(others_can_write, [path, path.resolve().parent, *above]), None)


def _places(
    weights: WeightsFile, weights_dir: Path, cache_dir: Path
) -> Iterator[tuple[Path, Path]]:
    """Paths of the file, the preferred one first, each with the weights folder that it is in."""
    for name in weights.local_names:
        if (weights_dir / name).is_file():
            yield weights_dir / name, weights_dir
    bundled = table.BUNDLED_DIR / weights.file_name
    if weights.bundled and bundled.is_file():
        yield bundled, table.BUNDLED_DIR
    if weights.modelscope is not None:
        yield from _cached(weights.modelscope, modelscope_dir(cache_dir))
    if weights.url is not None and (path := web_file(weights, cache_dir)).is_file():
        yield path, cache_dir


def resolve(
    model: str,
    weights_dir: Path,
    cache_dir: Path,
    *,
    progress: Progress | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> Resolved:
    """Find the generator that the setting MODEL names.

    ``auto`` is the first of AUTO_ORDER that is on this machine and that other users cannot write;
    it never waits for the network.  The name of a checkpoint means that one, which is downloaded if
    necessary.  Anything else is a file, whose metadata state template and licence if it is one of
    ours; those of an ONNX file are read by ``app.engines.onnx_file``.  Raises CheckpointError
    (DownloadError), or WeightsError for a file that cannot be read.
    """
    if model == AUTO:
        return _best_here(weights_dir, cache_dir)
    for checkpoint in CHECKPOINTS:
        if checkpoint.name == model:
            path = find(checkpoint, weights_dir, cache_dir) or download(
                checkpoint, weights_dir, cache_dir, progress=progress, patience=patience
            )
            return _resolved(checkpoint, path)
    return _resolve_file(Path(model).expanduser())


def _best_here(weights_dir: Path, cache_dir: Path) -> Resolved:
    for checkpoint in AUTO_ORDER:
        path = find_safe(checkpoint, weights_dir, cache_dir)
        if path is not None:
            return _resolved(checkpoint, path)
    names = ", ".join(checkpoint.name for checkpoint in AUTO_ORDER)
    raise CheckpointError(f"none of {names} is on this machine (the weights folder: {weights_dir})")


def _resolved(checkpoint: Checkpoint, path: Path) -> Resolved:
    return Resolved(checkpoint.name, path, checkpoint.licence, checkpoint.template)


def _resolve_file(path: Path) -> Resolved:
    if not path.is_file():
        names = ", ".join(checkpoint.name for checkpoint in CHECKPOINTS)
        raise CheckpointError(f"{path} is neither {AUTO}, nor a model ({names}), nor a file")
    if is_onnx(path):
        return Resolved(path.stem, path, UNKNOWN_LICENCE, ONNX_TEMPLATE)
    metadata = read_metadata(path)
    if metadata is None:
        return Resolved(path.stem, path, UNKNOWN_LICENCE, DEFAULT_TEMPLATE)
    if metadata.template not in TEMPLATE_NAMES:
        raise CheckpointError(f"{path} needs an unknown alignment template, {metadata.template!r}")
    return Resolved(metadata.name, path, metadata.licence, metadata.template)


def _cached(file: ModelScopeFile, own_cache: Path) -> Iterator[tuple[Path, Path]]:
    """Search ModelScope's cache, then ours, which has the same layout."""
    # imported here because it takes a third of a second
    from model.checkpoints.modelscope_cache import default_cache, find_cached  # noqa: PLC0415

    for cache in (default_cache(), own_cache):
        if cache is None or not cache.is_dir():
            continue
        for owner in MODELSCOPE_OWNERS:
            path = find_cached(cache, f"{owner}/{file.repository}", file.path, own_cache)
            if path is not None:
                yield path, cache
