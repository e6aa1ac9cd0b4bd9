"""The configuration of a resumed run, and the changes to it that are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.training.config import Config
from model.training.config_file import ConfigError, differences, override_config
from model.training.state import TrainingCheckpoint, read_checkpoint

_FIXED = {
    "train.batch_size": "learning rates, R1 and the order of the faces depend on it",
    "train.seed": "the order of the faces depends on it",
    "train.img_size": "the networks would be different",
    "train.discriminator": "the networks would be different",
    "network.": "the networks would be different",
    "data.folders": "the faces of an epoch depend on it",
    "data.margin": "the faces would be cropped differently",
}
"""Settings (or prefixes of their names) that cannot change during a run, and why."""


def configuration_of(checkpoint: Path, overrides: Sequence[str], data: Path | None) -> Config:
    """The configuration that a checkpoint was trained with, changed by ``overrides`` and ``data``.

    Raises OSError, or ValueError for files that are not checkpoints or are of another version.
    """
    document = read_checkpoint(checkpoint, mapped=True).config
    try:
        config = override_config(Config.model_validate(document), overrides)
    except ConfigError:
        raise
    except ValueError as error:
        raise ValueError(f"{checkpoint} has a configuration of another version") from error
    return config if data is None else config.with_data(data)


def refuse_other_run(
    checkpoint: TrainingCheckpoint, config: Config, faces: str, per_epoch: int
) -> dict[str, tuple[str, str]]:
    """Return the settings that were changed since the checkpoint, with their old and new values.

    ``faces`` is the fingerprint of the present data, and ``per_epoch`` its steps an epoch.  Raises
    ValueError if the run could not continue as the same run.
    """
    changed = differences(Config.model_validate(checkpoint.config), config)
    for key, (before, after) in changed.items():
        for fixed, reason in _FIXED.items():
            if key.startswith(fixed):
                raise _refused(f"{key} was {before} and is now {after}, but {reason}")
    if checkpoint.faces and checkpoint.faces != faces:
        paths = [f"{key} was {a} and is {b}" for key, (a, b) in changed.items() if "data." in key]
        raise _refused(
            f"the faces or the holdout are not the same{''.join(f', {path}' for path in paths)}: "
            "validation would use faces that were trained on, or epochs would change their length"
        )
    if checkpoint.per_epoch != per_epoch:
        raise _refused(f"an epoch had {checkpoint.per_epoch} steps and now has {per_epoch}")
    return changed


def _refused(what: str) -> ValueError:
    return ValueError(
        f"the run cannot be resumed: {what}. Use another --output to start a new run; it can start "
        "from this one's weights if train.initial.g and train.initial.d name a checkpoint"
    )
