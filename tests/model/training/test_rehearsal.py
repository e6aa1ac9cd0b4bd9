"""The heaviest steps come first, and leave no trace."""

import copy
from typing import Any

import pytest
import torch

from model.training import rehearsal
from model.training.config import Config
from model.training.generator_losses import Judges
from model.training.rehearsal import OutOfMemoryError, rehearse
from model.training.schedule import Stage
from model.training.state import TrainingState, rng_state
from model.training.steps import Setup, training_step
from tests.model.training_runs import equal


def everything(state: TrainingState, config: Config) -> dict[str, Any]:
    return copy.deepcopy(vars(state.checkpoint(config, 2, [rng_state()])))


@pytest.mark.parametrize(
    ("steps", "changes"),
    [(0, {}), (1, {"discriminator": "projected"}), (1, {"precision": "fp16"})],
)
def test_the_state_is_what_it_was(make_config, batch, changes, steps):
    config = make_config(path_length={"weight": 2, "interval": 2}, **changes)
    state = TrainingState.fresh(config)
    projected = config.train.discriminator == "projected"
    judges = Judges.load(config.train.losses, torch.device("cpu"), projected=projected)
    setup = Setup(config.train, 2, state.generator, judges)
    for _ in range(steps):
        training_step(state, [batch], setup)
    before = everything(state, config)
    seconds = rehearse(state, setup, 2)
    assert list(seconds) == [Stage.CONTENT, Stage.WARMUP, Stage.JOINT]
    assert all(value > 0 for value in seconds.values())
    after = everything(state, config)
    for optimizer in ("g_optim", "d_optim"):  # the rate is set anew at every step
        for document in (before, after):
            document[optimizer]["param_groups"][0]["lr"] = None
    assert equal(after, before)
    assert all(parameter.grad is None for parameter in state.generator.parameters())


def test_stages_that_are_over_are_not_tried(state, make_config):
    config = make_config()
    state.step = 6
    assert list(rehearse(state, Setup(config.train, 2, state.generator), 2)) == [Stage.JOINT]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError("no memory"),
    ],
)
def test_running_out_of_memory_says_what_to_lower(state, make_config, monkeypatch, error):
    """In the step with R1 of the joint stage alone, which here would come after four others."""

    def step(state, _batches, _setup, *, train_g):
        if train_g and state.step % 4 == 0:
            raise error
        return {}

    monkeypatch.setattr(rehearsal, "joint_step", step)
    config = make_config(batch_size=4)
    with pytest.raises(OutOfMemoryError) as raised:
        rehearse(state, Setup(config.train, 2, state.generator), 2)
    message = str(raised.value)
    assert "heaviest step of the joint stage, at 64 px with batch_size 4" in message
    assert "train.accumulation=2" in message
    assert "train.precision=bf16" in message
    assert "\n" not in message


def test_other_errors_are_left_as_they_are(state, make_config, monkeypatch):
    def step(*_arguments):
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(rehearsal, "content_step", step)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        rehearse(state, Setup(make_config().train, 2, state.generator), 2)
