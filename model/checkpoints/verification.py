"""Checks weights files before they are trusted."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch

from model.checkpoints.generator import load_generator
from model.checkpoints.table import Checkpoint, CheckpointError, UpscalerFile, WeightsFile
from model.networks import Architecture
from model.networks.super_resolution import load_super_resolution
from model.state_dicts import read_tensors

SUMS_FILE = "SHA256SUMS"
"""A file beside the bundled weights, in the format of ``sha256sum``."""

_SUM = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")


def verify(weights: WeightsFile, path: Path) -> list[str]:
    """Check SHA-256 and contents; returns descriptions of what was checked and what was not.

    The SHA-256 is compared with that of the published file and with the one recorded beside the
    file, if they are known.  A generator must load strictly and have the architecture and the
    alignment template that the table states.  An upscaler must load and have the stated scale.  All
    values of any network must be finite.  Raises CheckpointError or WeightsError.
    """
    checked = [_check_published(weights, path)]
    if check_sum(path, required=weights.bundled):
        checked = [f"SHA-256 is that of {SUMS_FILE}"]
    if isinstance(weights, UpscalerFile):
        network = load_super_resolution(path)
        state = network.state_dict()
        checked.append(f"enlarges {network.scale} times")
        if network.scale != weights.scale:
            raise CheckpointError(f"{path} enlarges {network.scale} times, not {weights.scale}")
    elif not isinstance(weights, Checkpoint):
        state = read_tensors(path)
    else:
        generator, metadata = load_generator(path)
        state = generator.state_dict()
        found = Architecture.from_state_dict(state)
        checked.append(f"architecture ({found.size} px)")
        if found != weights.architecture:
            raise CheckpointError(f"{path} is {found}, not {weights.architecture}")
        if metadata is not None and metadata.template != weights.template:
            raise CheckpointError(
                f"{path} needs the alignment template {metadata.template!r}, not "
                f"{weights.template!r}"
            )
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {key} has values that are not finite")
    return [*checked, "all values are finite"]


def _check_published(weights: WeightsFile, path: Path) -> str:
    """Compare the file's SHA-256 with the published one.  Raises CheckpointError."""
    if weights.sha256 is None:
        return "not whether it is the published file, whose SHA-256 is unknown"
    actual = _sha256(path)
    if actual != weights.sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {actual}, but the published file has {weights.sha256}"
        )
    return "SHA-256 is that of the published file"


def check_sum(path: Path, *, required: bool) -> bool:
    """Compare a file with the SHA-256 in the SUMS_FILE beside it, if that exists and lists it.

    Returns whether there was a SHA-256 to compare with.  Raises CheckpointError if it differs, or
    if a SUMS_FILE exists and does not list a ``required`` file.
    """
    sums = path.with_name(SUMS_FILE)
    if not sums.is_file():
        return False
    recorded = recorded_sums(sums).get(path.name)
    if recorded is None:
        if required:
            raise CheckpointError(f"{sums} does not list {path.name}")
        return False
    actual = _sha256(path)
    if actual != recorded:
        raise CheckpointError(f"{path} has SHA-256 {actual}, but {sums} records {recorded}")
    return True


def _sha256(path: Path) -> str:
    """Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error


def recorded_sums(sums: Path) -> dict[str, str]:
    """File name -> SHA-256 in hexadecimal, from a file in sha256sum's format.

    Raises CheckpointError.
    """
    recorded: dict[str, str] = {}
    for number, line in enumerate(sums.read_text().splitlines(), start=1):
        match = _SUM.fullmatch(line)
        if match is None:
            raise CheckpointError(f"{sums}, line {number}: not in the format of sha256sum")
        recorded[match["name"]] = match["digest"]
    return recorded
