"""What tests of training look at: rows, checkpoints, and a signal at a given step."""

from __future__ import annotations

import signal
from collections.abc import Container
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from model.training.records import Record, StepReport, read_records
from model.training.state import TrainingState, read_checkpoint
from model.training.steps import NonFiniteGradientError, training_step

Row = TypeVar("Row", bound=Record)


def rows(output: Path, kind: type[Row]) -> list[Row]:
    """Those of one kind that a run has written."""
    return [row for row in read_records(output / "metrics.jsonl") if isinstance(row, kind)]


def same(ours: Path, theirs: Path) -> bool:
    """Whether two checkpoints are equal to the bit, and would go on alike."""
    a, b = (vars(read_checkpoint(path)) for path in (ours, theirs))
    return equal(a, b)


def equal(a: Any, b: Any) -> bool:
    """Whether two nested values of tensors are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def stop_after(
    step: int, monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGTERM
) -> None:
    """Have a signal come in the middle of training."""

    def interrupt(state: TrainingState, *arguments: Any) -> StepReport:
        report = training_step(state, *arguments)
        if state.step == step:
            signal.raise_signal(number)
        return report

    monkeypatch.setattr("model.training.trainer.training_step", interrupt)


def poison(steps: Container[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the gradients of these steps not be finite."""

    def step(state: TrainingState, *arguments: Any) -> StepReport:
        if state.step in steps:
            raise NonFiniteGradientError("the gradient of the FullGenerator is nan")
        return training_step(state, *arguments)

    monkeypatch.setattr("model.training.trainer.training_step", step)
