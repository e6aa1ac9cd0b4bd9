"""The loss that docs/training.md adds, in a copy of the code in which one file is changed."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from model.training.config_file import save_config
from tests.conftest import REPOSITORY
from tests.documents.pages import code


@pytest.mark.long
def test_a_loss_is_added_in_one_file(make_config, face_folder, tmp_path):
    """It is trained with, logged, and drawn: its weight and its row are all that it takes."""
    added, *_ = (block.text for block in code("docs/training.md", "Losses", "text"))
    weight, row = added.split("…\n")
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "model", copy / "model", symlinks=True)
    (copy / "weights").symlink_to(REPOSITORY / "weights")
    file = copy / "model" / "training" / "generator_losses.py"
    text = file.read_text()
    for line, addition in {'    """L1."""\n': weight, "_TERMS: dict[str, Callable": row}.items():
        head, found, tail = text.partition(line)
        assert found
        end = tail.index("\n") + 1 if "\n" not in found else 0
        text = head + found + tail[:end] + addition + tail[end:]
    file.write_text(text)

    save_config(make_config(content={"steps": 2}, num_epochs=0.5, warmup_epochs=0), copy / "c.yaml")
    command = [sys.executable, "-m", "model.train", "--config", "c.yaml", "--output", "run"]
    command += ["--data", str(face_folder), "--set", "train.losses.colour=2"]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    ended = subprocess.run(
        command, cwd=copy, env=environment, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "colour 0." in ended.stderr
    lines = map(json.loads, (copy / "run" / "metrics.jsonl").read_text().splitlines())
    losses = [line["losses"] for line in lines if line["event"] == "train"]
    assert len(losses) == 2  # of the content and of the joint stage
    assert all(0 < each["colour"] < 0.5 for each in losses)
    events = next((copy / "run" / "tensorboard").rglob("events.*"))
    assert b"colour" in events.read_bytes()
