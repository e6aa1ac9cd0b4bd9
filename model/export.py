"""``python -m model.export``: a training checkpoint's moving average as served weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from model.checkpoints.generator import WeightsMetadata, save_generator
from model.networks import Architecture
from model.training.config import Config
from model.training.schedule import Plan
from model.training.state import Standing, TrainingCheckpoint, read_checkpoint

_TEMPLATE = "gpen"  # to which training faces are aligned
_HALF_MAX = torch.finfo(torch.float16).max


def export(
    checkpoint_path: Path, output: Path, *, name: str | None, licence: str, training: str | None
) -> WeightsMetadata:
    """Write ``g_ema`` of a training checkpoint as safetensors, in float16; returns its metadata.

    ``name`` defaults to the output's; ``training`` to a summary of configuration and score.  Raises
    OSError, or ValueError when the file is no checkpoint or its weights have no place in float16.
    """
    if output.suffix != ".safetensors":
        raise ValueError(f"{output} does not end in .safetensors")
    checkpoint = read_checkpoint(checkpoint_path)
    for key, value in checkpoint.g_ema.items():
        if not (value.abs() <= _HALF_MAX).all():  # NaN is not <= either
            raise ValueError(f"{checkpoint_path}: {key} is not finite in float16")
    metadata = WeightsMetadata(
        name=name or output.stem,
        architecture=Architecture.from_state_dict(checkpoint.g_ema),
        template=_TEMPLATE,
        licence=licence,
        training=training or summary(checkpoint),
    )
    save_generator(checkpoint.g_ema, metadata, output)
    return metadata


def summary(checkpoint: TrainingCheckpoint) -> str:
    """How the weights were trained, in one line; names no folders."""
    config = Config.model_validate(checkpoint.config)
    train, standing = config.train, Standing(**checkpoint.standing)
    plan = Plan.of(train, checkpoint.per_epoch)
    begun = [file.name for file in (train.initial.g, train.initial.d) if file is not None]
    recipes = ", ".join(f"{name} {share:g}" for name, share in config.data.recipes.items())
    facts = [
        f"by model.train at {train.img_size} px, from {' and '.join(begun) or 'scratch'}",
        f"{checkpoint.step} steps of {train.batch_size} faces ({plan.content} content, "
        f"{plan.warmup} warm-up, {plan.joint} joint steps planned)",
        f"degradation {recipes}",
    ]
    if standing.stage:
        facts.append(f"best validation PSNR {standing.best:.2f} dB ({standing.stage} stage)")
    return "; ".join(facts)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.export", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="last.pt or best.pt")
    parser.add_argument("--output", type=Path, required=True, help="FILE.safetensors")
    parser.add_argument("--name", help="what the weights are called (default: the output's name)")
    parser.add_argument("--licence", default="unspecified", help="under which they may be used")
    parser.add_argument("--training", help="how they were trained (default: a summary)")
    options = parser.parse_args(arguments)
    try:
        metadata = export(
            options.checkpoint,
            options.output,
            name=options.name,
            licence=options.licence,
            training=options.training,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: {metadata.name}, {metadata.architecture}, {metadata.training}")


if __name__ == "__main__":
    main()
