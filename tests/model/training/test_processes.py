"""Two processes on the CPU, joined by gloo, do what one does with two micro-batches."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.training.records import StartRecord, TrainRecord, ValidationRecord
from model.training.state import read_checkpoint
from tests.model.training.two_processes import STEPS, Steps, Witness, configuration, take_steps
from tests.model.training_runs import rows, same

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(faces: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    (folder / "faces").mkdir()
    for i in range(8):
        cv2.imwrite(str(folder / "faces" / f"{i}.png"), faces[i % 6, ..., ::-1])
    return folder


@pytest.fixture(scope="module")
def together(folder: Path) -> Path:
    """What two processes have written."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        *("-m", "tests.model.training.two_processes", str(folder / "faces"), str(folder)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    result = subprocess.run(
        command, cwd=REPOSITORY, env=environment, check=False, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def error(ours: Tensor, theirs: Tensor) -> float:
    """Relative, in L2."""
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))


def test_gradients_and_weights_equal_those_of_accumulation(together, one_thread):
    """Five joint steps, R1 and path lengths in three of them, with the same pictures."""
    shared = Steps(**torch.load(together / "steps.pt", weights_only=True))
    config = configuration(together / "faces", accumulation=2)
    alone = take_steps(config, Witness(), process=0, processes=1)

    assert len(shared.gradients) == len(alone.gradients) == 2 * STEPS
    first = zip(shared.gradients[:2], alone.gradients[:2], strict=True)
    gradients = [error(a[name], b[name]) for a, b in first for name in a | b]
    assert len(gradients) > 100
    assert max(gradients) <= 1e-5
    for ours, theirs in ((shared.g, alone.g), (shared.d, alone.d)):
        assert max(error(ours[name], theirs[name]) for name in ours) <= 1e-4


def test_micro_batches_are_not_what_is_equal_by_chance(together, one_thread):
    """The whole batch at once differs, if only by D's minibatch standard deviation."""
    shared = Steps(**torch.load(together / "steps.pt", weights_only=True))
    whole = take_steps(configuration(together / "faces"), Witness(), process=0, processes=1)
    name = "final_conv.0.weight"
    assert error(whole.gradients[0][name], shared.gradients[0][name]) > 1e-3


def test_an_interrupted_run_equals_an_uninterrupted_one(together):
    """The signal came to the second process alone; both stopped, and saved their states."""
    assert [row.step for row in rows(together / "resumed", StartRecord)] == [0, 5]
    assert same(together / "resumed" / "last.pt", together / "whole" / "last.pt")
    checkpoint = read_checkpoint(together / "resumed" / "last.pt")
    assert checkpoint.step == 8
    assert len(checkpoint.rng) == 2


def test_one_process_writes_and_validates(together):
    (start,) = rows(together / "whole", StartRecord)
    assert (start.processes, start.micro_batch) == (2, 2)
    assert [row.step for row in rows(together / "whole", TrainRecord)] == [2, 4, 6, 8]
    assert [row.step for row in rows(together / "early", ValidationRecord)] == [2, 4]
