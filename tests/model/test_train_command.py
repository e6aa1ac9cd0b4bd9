"""``python -m model.train``: what it says, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model.train import main
from model.training.config import Config
from model.training.config_file import save_config
from model.training.records import EndRecord
from model.training.state import read_checkpoint
from tests.model.training_runs import rows

REPOSITORY = Path(__file__).parents[2]
LPIPS = "train.losses={lpips: 1, lpips_weights: none.pth}"
SHARED = "train={num_epochs: 1, img_size: 64, batch_size: 8, accumulation: 2}"


@pytest.fixture
def config_file(make_config: Callable[..., Config], tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    save_config(make_config(), path)
    return path


def run_main(arguments: list[object]) -> str:
    """What the command says on its way out."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    message = stopped.value.code
    assert isinstance(message, str)  # which Python prints, and exits with 1
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def test_gradients_that_explode(config_file, face_folder, tmp_path):
    """One line says what happened, where and what to do, and the state before is on disk."""
    output = tmp_path / "run"
    arguments = ["--config", config_file, "--data", face_folder, "--output", output]
    message = run_main([*arguments, "--set", "train.content.lr=1e30"])
    assert "step 1, content stage: the gradient of the FullGenerator is nan" in message
    assert "the step before: content" in message
    assert "--resume" in message
    assert rows(output, EndRecord)[0].reason in message
    before = read_checkpoint(output / "last.pt")
    assert before.step == 0
    assert all(value.isfinite().all() for value in before.g.values())
    # and with a better learning rate it goes on
    main([str(argument) for argument in [*arguments, "--resume"]])
    assert read_checkpoint(output / "last.pt").step == 10


def test_an_earlier_run_is_not_overwritten(config_file, face_folder, tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    (output / "last.pt").write_text("an earlier run's")
    message = run_main(["--config", config_file, "--data", face_folder, "--output", output])
    assert "--resume" in message
    assert [path.read_text() for path in output.iterdir()] == ["an earlier run's"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--config", "none.yaml"], "none.yaml"),
        (["--config", "CONFIG", "--set", "train.lr=1"], "train.lr: Extra inputs"),
        (["--config", "CONFIG"], "no data"),
        (["--config", "CONFIG", "--data", "none"], "no pictures in none"),
        (["--config", "CONFIG", "--data", "FACES", "--resume"], "last.pt"),
        (["--config", "CONFIG", "--data", "FACES", "--resume", "CONFIG"], "is no checkpoint"),
        (
            ["--config", "CONFIG", "--data", "FACES", "--set", "network.narrow=0.01"],
            "six channels are needed",
        ),
        (
            ["--config", "CONFIG", "--data", "FACES", "--set", "train.initial.g=none.pth"],
            "none.pth: No such file",
        ),
        (
            ["--config", "CONFIG", "--data", "FACES", "--set", LPIPS],
            "none.pth: No such file",
        ),
        (
            ["--config", "CONFIG", "--data", "FACES", "--set", SHARED],
            "6 faces do not fill a batch of 8",
        ),
    ],
)
def test_what_cannot_be_run(config_file, face_folder, tmp_path, arguments, complaint):
    names = {"CONFIG": config_file, "FACES": face_folder}
    arguments = [names.get(argument, argument) for argument in arguments]
    assert complaint in run_main([*arguments, "--output", tmp_path / "run"])
    assert not (tmp_path / "run").exists()


def test_sigterm_to_the_process_group(config_file, face_folder, tmp_path):
    """As service managers send it, to the data worker too: the run saves itself and ends well.

    OpenCV has run in threads before: its pool does not outlive a fork, and a worker that touched it
    would hang.
    """
    output = tmp_path / "run"
    program = (
        "import sys, cv2, numpy; from model.train import main; cv2.setNumThreads(4);"
        "cv2.GaussianBlur(numpy.zeros((1500, 1500, 3), 'f4'), (0, 0), 9); main(sys.argv[1:])"
    )
    command = [
        *(sys.executable, "-c", program, "--config", config_file, "--data", face_folder),
        *("--output", output, "--set", "train.content.epochs=9999", "--set", "data.workers=1"),
        *("--set", "train.validate_every=9999"),
    ]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (output / "checkpoints" / "0000002.pt").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    steps = read_checkpoint(output / "last.pt").step
    assert steps >= 2
    assert f"interrupted at step {steps}; --resume goes on" in errors
    assert not list(output.rglob("*.tmp"))
    assert json.loads((output / "metrics.jsonl").read_text().splitlines()[-1])["event"] == "end"
