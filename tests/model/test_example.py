"""The published example configuration, run as it stands on a small scale."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.train import main
from model.training.records import EndRecord, TrainRecord, ValidationRecord
from model.training.state import read_checkpoint
from tests.model.training.test_config import EXAMPLE
from tests.model.training_runs import rows

SMALL = [
    *("train.img_size=64", "train.num_epochs=3", "train.warmup_epochs=1"),
    *("network={channel_multiplier: 1, narrow: 0.0625}", "data.workers=0", "train.keep_last=9"),
    "data.holdout_count=0",
]


@pytest.fixture(scope="module")
def example(faces: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configuration, and sixteen faces."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "example.yaml").write_text(EXAMPLE)
    (folder / "faces").mkdir()
    for i in range(16):
        face = faces[i % 6, ..., ::-1]
        cv2.imwrite(str(folder / "faces" / f"{i:02d}.png"), face if i < 8 else face[:, ::-1])
    return folder


def run(example: Path, output: str, *settings: str) -> Path:
    arguments = ["--config", example / "example.yaml", "--data", example / "faces"]
    for setting in (*SMALL, *settings):
        arguments += ["--set", setting]
    main([str(argument) for argument in [*arguments, "--output", example / output]])
    return example / output


def test_warm_up_then_joint_down_to_the_floors(example):
    output = run(example, "whole")
    trained = rows(output, TrainRecord)
    assert [(row.step, row.stage) for row in trained] == [(2, "warmup"), (4, "joint"), (6, "joint")]
    assert (trained[-1].lr_g, trained[-1].lr_d) == (1e-6, 5e-7)

    start, warm, joint = (
        read_checkpoint(output / "checkpoints" / f"{step:07d}.pt") for step in (0, 2, 6)
    )
    assert all(torch.equal(start.g[key], warm.g[key]) for key in start.g)
    assert any(not torch.equal(start.d[key], warm.d[key]) for key in start.d)
    assert any(not torch.equal(warm.g[key], joint.g[key]) for key in start.g)
    assert [row.step for row in rows(output, ValidationRecord)] == [4, 6]
    assert len(list((output / "samples").iterdir())) == 2
    assert list((output / "tensorboard").iterdir())


def test_a_run_is_stopped_by_the_rule(example):
    early = "train.early_stopping={patience: 2, delta: 50}"
    output = run(example, "early", "train.num_epochs=130", early)
    assert [row.reason for row in rows(output, EndRecord)] == ["stopped early"]
    assert [row.step for row in rows(output, ValidationRecord)] == [4, 6, 8]
