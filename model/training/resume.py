"""With which configuration a run goes on, and which changes it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.training.config import Config
from model.training.config_file import ConfigError, differences, override_config
from model.training.state import TrainingCheckpoint, read_checkpoint

_FIXED = {
    "train.batch_size": "learning rates, R1 and the order of the faces follow from it",
    "train.seed": "the order of the faces follows from it",
    "train.img_size": "the networks would be others",
    "train.discriminator": "the networks would be others",
    "network.": "the networks would be others",
    "data.folders": "the faces of an epoch follow from it",
    "data.margin": "the faces would be cut out differently",
}
"""Settings, or the beginnings of their names, that a run keeps to its end, and why."""


def configuration_of(checkpoint: Path, overrides: Sequence[str], data: Path | None) -> Config:
    """The configuration that a checkpoint was trained with, and changes to it.

    Raises OSError; ValueError for files that are no checkpoints, or of another version.
    """
    document = read_checkpoint(checkpoint, mapped=True).config
    try:
        config = override_config(Config.model_validate(document), overrides)
    except ConfigError:
        raise
    except ValueError as error:
        raise ValueError(f"{checkpoint} holds the configuration of another version") from error
    return config if data is None else config.with_data(data)


def refuse_other_run(
    checkpoint: TrainingCheckpoint, config: Config, faces: str, per_epoch: int
) -> dict[str, tuple[str, str]]:
    """The settings that were changed since the checkpoint, if the run can go on with them.

    ``faces`` is the fingerprint of the data at hand, ``per_epoch`` its steps.  Raises ValueError
    where what follows would not be the same run.
    """
    changed = differences(Config.model_validate(checkpoint.config), config)
    for key, (before, after) in changed.items():
        for fixed, reason in _FIXED.items():
            if key.startswith(fixed):
                raise _refused(f"{key} was {before} and is {after}: {reason}")
    if checkpoint.faces and checkpoint.faces != faces:
        paths = [f"{key} was {a} and is {b}" for key, (a, b) in changed.items() if "data." in key]
        raise _refused(
            f"the faces or the holdout are not the same{''.join(f', {path}' for path in paths)}: "
            "it would be validated on faces that it has learnt, or count its epochs anew"
        )
    if checkpoint.per_epoch != per_epoch:
        raise _refused(f"an epoch had {checkpoint.per_epoch} steps and has {per_epoch}")
    return changed


def _refused(what: str) -> ValueError:
    return ValueError(
        f"the run cannot be resumed, as {what}. A new --output begins a new run, with this one's "
        "weights if train.initial.g and train.initial.d name its checkpoint"
    )
