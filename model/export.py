"""``python -m model.export``: weights to serve, or for other people's servers.

``--checkpoint last.pt --output FILE.safetensors`` writes a training checkpoint's moving average in
float16, as this service takes it.  ``--weights W --output FILE.onnx`` writes any generator, ours or
a published one, as ONNX in float32, for batches of any size; it needs the extra ``[onnx]``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from model.checkpoints.generator import WeightsMetadata, load_generator, save_generator
from model.checkpoints.lookup import UNKNOWN_LICENCE
from model.checkpoints.named import named, weights_file
from model.checkpoints.onnx_export import save_onnx
from model.checkpoints.table import Checkpoint
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


def export_onnx(
    weights: Path,
    output: Path,
    *,
    name: str | None,
    licence: str | None,
    training: str | None,
) -> tuple[WeightsMetadata, float]:
    """Write a generator as ONNX, and check it against PyTorch.

    ``weights`` is a file or a name of the table.  What is not given is what the weights' own
    metadata say, or else the table; of other files the name is the output's, the licence unknown.
    Returns the metadata, and by how many levels, of 255, a pixel differs at most from PyTorch's.

    Raises as ``load_generator`` and ``save_onnx`` do, CheckpointError for a name whose file is not
    here, and ValueError for an output that is not called ``.onnx``.
    """
    if output.suffix != ".onnx":
        raise ValueError(f"{output} does not end in .onnx")
    generator, stated = load_generator(weights_file(weights))
    if stated is None:
        listed = named(weights)
        stated = WeightsMetadata(
            name=listed.name if listed else output.stem,
            architecture=Architecture.from_state_dict(generator.state_dict()),
            template=listed.template if isinstance(listed, Checkpoint) else _TEMPLATE,
            licence=listed.licence if listed else UNKNOWN_LICENCE,
            training="unknown",
        )
    given = {"name": name, "licence": licence, "training": training}
    metadata = stated.model_copy(update={key: value for key, value in given.items() if value})
    return metadata, save_onnx(generator, metadata, output)


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
        metric, best = config.validation.metric, abs(standing.best)  # negated where less is better
        score = f"PSNR {best:.2f} dB" if metric == "psnr" else f"{metric} {best:.4g}"
        facts.append(f"best validation {score} ({standing.stage} stage)")
    return "; ".join(facts)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.export", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, help="last.pt or best.pt of a run")
    source.add_argument(
        "--weights", type=Path, help="a generator: a file, or a name of `gpen weights list`"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="FILE.safetensors of a checkpoint, FILE.onnx of weights",
    )
    parser.add_argument(
        "--name", help="what the weights are called (default: their own name, or the output's)"
    )
    parser.add_argument(
        "--licence", help="under which they may be used (default: what the weights say)"
    )
    parser.add_argument(
        "--training", help="how they were trained (default: what the weights say, or a summary)"
    )
    options = parser.parse_args(arguments)
    try:
        if options.checkpoint:
            metadata = export(
                options.checkpoint,
                options.output,
                name=options.name,
                licence=options.licence or "unspecified",
                training=options.training,
            )
            check = ""
        else:
            metadata, difference = export_onnx(
                options.weights,
                options.output,
                name=options.name,
                licence=options.licence,
                training=options.training,
            )
            check = f"; at most {difference:.2g} levels of 255 from PyTorch"
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: {metadata.name}, {metadata.architecture}, {metadata.training}{check}")


if __name__ == "__main__":
    main()
