"""Tries the heaviest step of every stage before training starts.

Then memory runs out within the first minute or not at all.  A joint step with R1 takes half as much
memory again as a step of the content stage, and may come days after it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from model.training.config import TrainConfig
from model.training.loading import Batch
from model.training.memory import is_out_of_memory
from model.training.schedule import Stage
from model.training.state import TrainingState, rng_state, set_rng_state
from model.training.steps import NonFiniteGradientError, Setup, content_step, joint_step

_HEAVIEST, _ORDINARY = 0, 1
"""Numbers of steps with every regulariser, and without any that has an interval above 1."""


class OutOfMemoryError(RuntimeError):
    """A step needs more memory than there is; the message says which settings to lower."""


def rehearse(state: TrainingState, setup: Setup, micro_batch: int) -> dict[Stage, float]:
    """Try the heaviest step of each remaining stage, then time an ordinary one.

    Returns the seconds of an ordinary step by stage.  Pictures are noise and learning rates are
    zero, so the state does not change.  Raises OutOfMemoryError.
    """
    device = next(state.generator.parameters()).device
    seconds = {}
    with _unchanged(state):
        for optimizer in (state.optimizer_g, state.optimizer_d):
            optimizer.param_groups[0]["lr"] = 0.0
        batches = _noise(setup.config, micro_batch, device)
        for stage in setup.plan.left(state.step):
            with explained_memory(setup.config, f"the heaviest step of the {stage} stage"):
                _try_step(state, batches, setup, stage, _HEAVIEST)
                started = time.perf_counter()
                _try_step(state, batches, setup, stage, _ORDINARY)
                seconds[stage] = time.perf_counter() - started
    return seconds


@contextmanager
def explained_memory(config: TrainConfig, what: str) -> Iterator[None]:
    """In this context, which computes ``what``, running out of memory raises OutOfMemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        remedies = [f"train.accumulation={config.accumulation * 2} (smaller micro-batches)"]
        if config.batch_size % (config.accumulation * 2):
            remedies = ["train.batch_size"]
        if config.precision == "fp32":
            remedies.append("train.precision=bf16")
        remedies.append("a smaller train.img_size")
        raise OutOfMemoryError(
            f"out of memory in {what}, at {config.img_size} px with batch_size "
            f"{config.batch_size}, accumulation {config.accumulation} and {config.precision}: try "
            f"--set {', '.join(remedies)}. ({str(error).splitlines()[0]})"
        ) from error


def _try_step(
    state: TrainingState, batches: list[Batch], setup: Setup, stage: Stage, step: int
) -> None:
    state.step = step
    # training itself handles gradients that are not finite
    with suppress(NonFiniteGradientError):
        if stage is Stage.CONTENT:
            content_step(state, batches, setup)
        else:
            joint_step(state, batches, setup, train_g=stage is Stage.JOINT)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _noise(config: TrainConfig, micro_batch: int, device: torch.device) -> list[Batch]:
    shape = (micro_batch, 3, config.img_size, config.img_size)
    low, high = (
        torch.rand(shape, device=device).to(memory_format=torch.channels_last) * 2 - 1
        for _ in range(2)
    )
    return [Batch(low, high, part) for part in range(config.accumulation)]


@contextmanager
def _unchanged(state: TrainingState) -> Iterator[None]:
    """Restore everything except the networks' parameters when the context ends."""
    buffer = io.BytesIO()  # in the CPU's memory, so that the GPU has as much as in training
    torch.save(
        {
            "optimizers": [state.optimizer_g.state_dict(), state.optimizer_d.state_dict()],
            "scalers": [state.scaler_g.state_dict(), state.scaler_d.state_dict()],
            "buffers": dict(state.discriminator.named_buffers()),
            "rng": rng_state(),
        },
        buffer,
    )
    step, path_length = state.step, state.path_length
    yield
    buffer.seek(0)
    before = torch.load(buffer, map_location="cpu", weights_only=True)
    for optimizer, saved in zip(
        (state.optimizer_g, state.optimizer_d), before["optimizers"], strict=True
    ):
        optimizer.zero_grad(set_to_none=True)
        optimizer.load_state_dict(saved)
    for scaler, saved in zip((state.scaler_g, state.scaler_d), before["scalers"], strict=True):
        if saved:
            scaler.load_state_dict(saved)
    with torch.no_grad():
        for name, values in state.discriminator.named_buffers():
            values.copy_(before["buffers"][name])
    set_rng_state(before["rng"])
    state.step, state.path_length = step, path_length
