"""Checking a file of weights before it is trusted."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch

from model.checkpoints import Checkpoint, CheckpointError, UpscalerFile, WeightsFile
from model.networks import Architecture
from model.super_resolution import load_super_resolution
from model.weights import load_generator, read_tensors

SUMS_FILE = "SHA256SUMS"
"""Lies next to the bundled weights, as ``sha256sum *.safetensors`` writes it."""

_SUM = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")


def verify(weights: WeightsFile, path: Path) -> None:
    """Check the recorded SHA-256, then what is inside; raises CheckpointError or WeightsError.

    A generator must load strictly, be of the architecture that the table states, want the same
    alignment template, and hold finite values; an upscaler must load, be of the scale that the
    table states, and finite.  Of other networks only the last is checked.
    """
    check_sum(path, required=weights.bundled)
    if isinstance(weights, UpscalerFile):
        network = load_super_resolution(path)
        state = network.state_dict()
        if network.scale != weights.scale:
            raise CheckpointError(f"{path} enlarges {network.scale} times, not {weights.scale}")
    elif not isinstance(weights, Checkpoint):
        state = read_tensors(path)
    else:
        generator, metadata = load_generator(path)
        state = generator.state_dict()
        found = Architecture.from_state_dict(state)
        if found != weights.architecture:
            raise CheckpointError(f"{path} is {found}, not {weights.architecture}")
        if metadata is not None and metadata.template != weights.template:
            raise CheckpointError(
                f"{path} wants the alignment template {metadata.template!r}, not "
                f"{weights.template!r}"
            )
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {key} holds values that are not finite")


def check_sum(path: Path, *, required: bool) -> None:
    """Compare with the SHA-256 in the SUMS_FILE next to it, where there is one that lists it.

    Raises CheckpointError, also when the SUMS_FILE lists nothing for a ``required`` one.  Without
    a SUMS_FILE there is nothing to compare with.
    """
    sums = path.with_name(SUMS_FILE)
    if not sums.is_file():
        return
    recorded = recorded_sums(sums).get(path.name)
    if recorded is None:
        if required:
            raise CheckpointError(f"{sums} does not list {path.name}")
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != recorded:
        raise CheckpointError(f"{path} has SHA-256 {actual}, but {sums} records {recorded}")


def recorded_sums(sums: Path) -> dict[str, str]:
    """File name -> SHA-256 in hexadecimal, from a file in sha256sum's format.

    Raises CheckpointError.
    """
    recorded: dict[str, str] = {}
    for number, line in enumerate(sums.read_text().splitlines(), start=1):
        match = _SUM.fullmatch(line)
        if match is None:
            raise CheckpointError(f"{sums}, line {number}: not as sha256sum writes it")
        recorded[match["name"]] = match["digest"]
    return recorded
