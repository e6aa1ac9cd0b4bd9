"""``python -m model.train``: what it says, and how it ends."""

import json
import logging
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
from model.training.records import EndRecord, StartRecord
from model.training.state import read_checkpoint
from tests.model.training_runs import rows, stop_after

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
    cautious = ["--set", "train.max_skipped=1"]
    message = run_main([*arguments, *cautious, "--set", "train.content.lr=1e30"])
    assert "step 2, content stage: the gradient of the FullGenerator is nan" in message
    assert "in 2 of the last 3 steps; the last good step: content" in message
    assert "--resume" in message
    assert rows(output, EndRecord)[0].reason in message
    before = read_checkpoint(output / "last.pt")
    assert before.step == 0
    assert all(value.isfinite().all() for value in before.g.values())
    # and with a better learning rate it continues
    rate = ["--set", "train.content.lr=1e-3"]
    main([str(argument) for argument in [*arguments, "--resume", *rate]])
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
        (["--data", "FACES"], "a new run needs --config"),
        (["--data", "FACES", "--resume", "auto"], "a new run needs --config"),
        (
            ["--config", "CONFIG", "--set", "train.lr=1"],
            "train.lr: there is no such key; did you mean lr",
        ),
        (["--config", "CONFIG"], "no data"),
        (["--config", "CONFIG", "--data", "none"], "no pictures in none"),
        (["--config", "CONFIG", "--data", "FACES", "--resume"], "last.pt"),
        (["--config", "CONFIG", "--data", "FACES", "--resume", "CONFIG"], "is not a checkpoint"),
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


def test_resume_auto(config_file, face_folder, tmp_path, monkeypatch, caplog):
    """It starts a run where there is none, and continues it with its own configuration."""
    output = tmp_path / "run"
    holdout = face_folder / "holdout.txt"
    holdout.write_text("1.png\n4.png\n")
    arguments = ["--config", config_file, "--data", face_folder, "--output", output]
    arguments = [str(argument) for argument in [*arguments, "--resume", "auto"]]
    lengths = ["--set", "train.content.steps=3", "--set", "train.num_epochs=1"]
    caplog.set_level(logging.INFO)
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, "--set", f"data.holdout={holdout}", *lengths])
    assert stopped.value.code == 75
    run = output / "config.yaml"
    settings = run.read_text()

    message = run_main([*arguments, "--set", "train.batch_size=1"])
    assert "train.batch_size was 3 and is now 1" in message
    message = run_main([*arguments, "--set", "data.holdout=null"])
    assert "the faces or the holdout are not the same" in message
    assert run.read_text() == settings

    main(arguments)  # without repeating what was set
    assert f"{config_file} differs from that in" in caplog.text
    assert "data.holdout" in caplog.text
    assert run.read_text() == settings
    assert [row.step for row in rows(output, StartRecord)] == [0, 2]
    assert all(row.validated == 2 for row in rows(output, StartRecord))
    assert read_checkpoint(output / "last.pt").step == 4
    assert "content         3 steps =    3.0 epochs =         9 images" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_other_signals_save_and_end_with_75(
    config_file, face_folder, tmp_path, monkeypatch, number
):
    output = tmp_path / "run"
    stop_after(1, monkeypatch, number)
    with pytest.raises(SystemExit) as stopped:
        main(["--config", str(config_file), "--data", str(face_folder), "--output", str(output)])
    assert stopped.value.code == 75
    assert read_checkpoint(output / "last.pt").step == 1


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
        deadline = time.monotonic() + 200
        while not (output / "checkpoints" / "0000002.pt").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 75, errors
    steps = read_checkpoint(output / "last.pt").step
    assert steps >= 2
    assert f"interrupted at step {steps}; --resume continues it" in errors
    assert not list(output.rglob("*.tmp"))
    assert json.loads((output / "metrics.jsonl").read_text().splitlines()[-1])["event"] == "end"
