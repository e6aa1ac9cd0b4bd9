import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml
from torch import Tensor

from model.config import Config
from model.dataset import evaluation_pairs
from model.metrics import score
from model.state import TrainingState, read_checkpoint
from model.steps import Report, training_step
from model.train import main, train

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def config_file(make_config: Callable[..., Config], tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(make_config().model_dump(mode="json")))
    return path


def metrics(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def identical(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def same(ours: Path, theirs: Path) -> bool:
    """Whether two checkpoints would go on alike."""
    a, b = read_checkpoint(ours), read_checkpoint(theirs)
    moments = [
        (a.g_optim["state"], b.g_optim["state"]),
        (a.d_optim["state"], b.d_optim["state"]),
    ]
    return (
        (a.step, a.best_psnr) == (b.step, b.best_psnr)
        and torch.equal(a.rng, b.rng)
        and all(map(identical, (a.g, a.d, a.g_ema), (b.g, b.d, b.g_ema)))
        and all(identical(x[index], y[index]) for x, y in moments for index in x)
    )


def test_content_stage_learns(make_config, faces, face_folder, tmp_path):
    """On faces that it has seen, the average soon restores better than it did as identity."""
    config = make_config(
        content={"epochs": 12, "lr": 1.5e-2, "lr_min": 2e-3},
        num_epochs=1,
        ema_half_life=6,
        validate_every=12,
    ).with_data(face_folder)
    train(config, tmp_path / "run", resume=False)
    degraded = score(*evaluation_pairs(faces))
    restored = [row["psnr"] for row in metrics(tmp_path / "run") if "psnr" in row]
    assert restored[0] > degraded.psnr + 0.2


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have SIGTERM come in the middle of training."""

    def interrupt(state: TrainingState, *arguments: Any) -> Report:
        report = training_step(state, *arguments)
        if state.step == step:
            signal.raise_signal(signal.SIGTERM)
        return report

    monkeypatch.setattr("model.train.training_step", interrupt)


@pytest.fixture(scope="module")
def uninterrupted(make_config, faces, tmp_path_factory) -> tuple[Config, Path]:
    """A run through all stages, and its configuration."""
    folder = tmp_path_factory.mktemp("train")
    for i, face in enumerate(faces):
        cv2.imwrite(str(folder / f"{i}.png"), face[..., ::-1])
    config = make_config(validate_every=2).with_data(folder)
    train(config, folder / "run", resume=False)
    return config, folder / "run"


def test_what_a_run_leaves(uninterrupted):
    config, output = uninterrupted
    assert sorted(path.name for path in output.iterdir()) == [
        *("best.pt", "config.yaml", "last.pt", "metrics.jsonl", "samples")
    ]
    assert read_checkpoint(output / "last.pt").step == 10
    assert Config.model_validate(yaml.safe_load((output / "config.yaml").read_text())) == config
    names = sorted(path.name for path in (output / "samples").iterdir())
    assert names == ["0000004.png", "0000008.png", "0000010.png"]
    sample = cv2.imread(str(output / "samples" / names[0]))
    assert sample is not None
    assert sample.shape == (6 * 64, 3 * 64, 3)


def test_metrics_have_a_row_per_epoch(uninterrupted):
    rows = metrics(uninterrupted[1])
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]
    assert [row["stage"] for row in rows] == ["content", "content", "warmup", "joint", "joint"]
    assert ["psnr" in row for row in rows] == [False, True, False, True, True]
    assert ["content" in row for row in rows] == [True, True, False, True, True]
    # steps 4 and 8: an epoch's row has what any of its steps reports
    assert ["gradient_penalty" in row for row in rows] == [False, False, True, False, True]
    assert all(row["seconds_per_step"] > 0 for row in rows)


def test_best_is_the_best(uninterrupted):
    _, output = uninterrupted
    best = read_checkpoint(output / "best.pt")
    assert best.best_psnr == max(row.get("psnr", 0) for row in metrics(output))


@pytest.mark.parametrize("steps", [3, 5, 7, 8])
def test_a_resumed_run_equals_an_uninterrupted_one(uninterrupted, tmp_path, monkeypatch, steps):
    """Stopped by SIGTERM within the content stage, the warm-up, a joint epoch, or at its end."""
    config, whole = uninterrupted
    handler = signal.getsignal(signal.SIGTERM)
    stop_after(steps, monkeypatch)
    train(config, tmp_path, resume=False)
    assert signal.getsignal(signal.SIGTERM) == handler
    assert read_checkpoint(tmp_path / "last.pt").step == steps

    monkeypatch.undo()
    torch.manual_seed(123)  # whatever happened in between
    train(config, tmp_path, resume=True)
    assert same(tmp_path / "last.pt", whole / "last.pt")
    assert [row["step"] for row in metrics(tmp_path)] == [2, 4, 6, 8, 10]


def test_a_finished_run_is_finished(uninterrupted, tmp_path):
    config, whole = uninterrupted
    (tmp_path / "last.pt").write_bytes((whole / "last.pt").read_bytes())
    train(config, tmp_path, resume=True)
    assert same(tmp_path / "last.pt", whole / "last.pt")
    assert not (tmp_path / "metrics.jsonl").exists()


def test_warm_up_leaves_the_generator_bit_for_bit(make_config, face_folder, tmp_path, monkeypatch):
    config = make_config(num_epochs=1, content={"epochs": 1}).with_data(face_folder)
    last = tmp_path / "run" / "last.pt"
    stop_after(2, monkeypatch)
    train(config, tmp_path / "run", resume=False)
    content = read_checkpoint(last)
    train(config, tmp_path / "run", resume=True)
    warmed_up = read_checkpoint(last)
    assert (content.step, warmed_up.step) == (2, 4)
    assert identical(content.g, warmed_up.g)
    assert identical(content.g_ema, warmed_up.g_ema)
    assert not identical(content.d, warmed_up.d)


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
    """One line says what to do, and the state before is on disk."""
    output = tmp_path / "run"
    arguments = ["--config", config_file, "--data", face_folder, "--output", output]
    message = run_main([*arguments, "--set", "train.content.lr=1e30"])
    assert "step 1: the gradient of the FullGenerator is nan" in message
    assert "--resume" in message
    before = read_checkpoint(output / "last.pt")
    assert before.step == 0
    assert all(value.isfinite().all() for value in before.g.values())
    # and with a better learning rate it goes on
    main([str(argument) for argument in [*arguments, "--resume"]])
    assert read_checkpoint(output / "last.pt").step == 10


def test_an_earlier_run_is_not_overwritten(uninterrupted, config_file, face_folder, tmp_path):
    _, whole = uninterrupted
    before = (whole / "last.pt").read_bytes()
    message = run_main(["--config", config_file, "--data", face_folder, "--output", whole])
    assert "--resume" in message
    assert (whole / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--config", "none.yaml"], "none.yaml"),
        (["--config", "CONFIG", "--set", "train.lr=1"], "train.lr: Extra inputs"),
        (["--config", "CONFIG"], "no data"),
        (["--config", "CONFIG", "--data", "none"], "no pictures in none"),
        (["--config", "CONFIG", "--data", "FACES", "--resume"], "last.pt"),
        (
            ["--config", "CONFIG", "--data", "FACES", "--set", "network.narrow=0.01"],
            "six channels are needed",
        ),
    ],
)
def test_what_cannot_be_run(config_file, face_folder, tmp_path, arguments, complaint):
    names = {"CONFIG": config_file, "FACES": face_folder}
    arguments = [names.get(argument, argument) for argument in arguments]
    assert complaint in run_main([*arguments, "--output", tmp_path / "run"])


def test_holdout_is_what_is_validated(make_config, face_folder, tmp_path, caplog):
    holdout = face_folder / "holdout.txt"
    holdout.write_text("1.png\n4.png\n")
    config = make_config(num_epochs=1, content={"epochs": 0}).with_data(face_folder)
    config = config.model_copy(update={"data": config.data.model_copy(update={"holdout": holdout})})
    with caplog.at_level(logging.INFO):
        train(config, tmp_path / "run", resume=False)
    assert "4 faces to train on, 2 to validate on" in caplog.text
    assert read_checkpoint(tmp_path / "run" / "last.pt").step == 1  # 4 // 3


def test_sigterm_to_the_process_group(config_file, face_folder, tmp_path):
    """As service managers send it, to the data worker too: the run saves itself and ends well."""
    output = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "model.train", "--config", config_file, "--data", face_folder),
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
        while not (output / "metrics.jsonl").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    steps = read_checkpoint(output / "last.pt").step
    assert steps >= 2
    assert f"stopped at step {steps}" in errors
    assert not list(output.glob("*.tmp"))


def test_workers_start_after_opencv_has_run_in_threads(config_file, face_folder, tmp_path):
    """OpenCV's pool of threads does not outlive a fork, and a worker that touches it hangs."""
    program = (
        "import sys, cv2, numpy; from model.train import main; cv2.setNumThreads(4);"
        "cv2.GaussianBlur(numpy.zeros((1500, 1500, 3), 'f4'), (0, 0), 9); main(sys.argv[1:])"
    )
    arguments = ["--config", config_file, "--data", face_folder, "--output", tmp_path / "run"]
    settings = ["--set", "data.workers=1", "--set", "train.num_epochs=1"]
    command = [sys.executable, "-c", program, *map(str, arguments), *settings]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=120)
    assert (tmp_path / "run" / "metrics.jsonl").exists()
