"""What tests of training look at: rows, checkpoints, and a signal at a given step."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from model.training.records import Record, StepReport, read_records
from model.training.state import TrainingState, read_checkpoint
from model.training.steps import training_step

Row = TypeVar("Row", bound=Record)


def rows(output: Path, kind: type[Row]) -> list[Row]:
    """Those of one kind that a run has written."""
    return [row for row in read_records(output / "metrics.jsonl") if isinstance(row, kind)]


def same(ours: Path, theirs: Path) -> bool:
    """Whether two checkpoints are equal to the bit, and would go on alike."""
    a, b = (vars(read_checkpoint(path)) for path in (ours, theirs))
    return _equal(a, b)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have SIGTERM come in the middle of training."""

    def interrupt(state: TrainingState, *arguments: Any) -> StepReport:
        report = training_step(state, *arguments)
        if state.step == step:
            signal.raise_signal(signal.SIGTERM)
        return report

    monkeypatch.setattr("model.training.trainer.training_step", interrupt)
