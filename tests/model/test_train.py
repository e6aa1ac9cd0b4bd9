"""Runs of one process: what they leave, how they stop, how they are gone on with."""

import logging
import signal
from contextlib import ExitStack
from pathlib import Path

import cv2
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.data.dataset import evaluation_pairs, to_halves
from model.evaluation.metrics import score
from model.train import train
from model.training.config import Config
from model.training.config_file import load_config
from model.training.records import EndRecord, StartRecord, TrainRecord, ValidationRecord
from model.training.schedule import Stage
from model.training.state import TrainingState, read_checkpoint, rng_state, write_checkpoint
from model.training.steps import NonFiniteGradientError, training_step
from tests.model.conftest import full_disk
from tests.model.training_runs import poison, rows, same, stop_after


def test_content_stage_learns(make_config, faces, face_folder, tmp_path):
    """On faces that it has seen, the average soon restores better than it did as identity."""
    config = make_config(
        content={"epochs": 12, "lr": 1.5e-2, "lr_min": 2e-3},
        num_epochs=1,
        ema_half_life=6,
        validate_every=12,
        save_every=100,
    ).with_data(face_folder)
    train(config, tmp_path / "run")
    degraded = score(*to_halves(evaluation_pairs(faces)))
    validated = rows(tmp_path / "run", ValidationRecord)
    assert validated[0].psnr > degraded.psnr + 0.2


@pytest.fixture(scope="module")
def uninterrupted(make_config, faces, tmp_path_factory) -> tuple[Config, Path]:
    """A run through all stages, every kind of regularisation included, and its configuration."""
    folder, output = tmp_path_factory.mktemp("faces"), tmp_path_factory.mktemp("train") / "run"
    for i, face in enumerate(faces):
        cv2.imwrite(str(folder / f"{i}.png"), face[..., ::-1])
    config = make_config(
        validate_every=2, path_length={"weight": 2, "interval": 2}, keep_last=2
    ).with_data(folder)
    train(config, output)
    return config, output


def test_what_a_run_leaves(uninterrupted):
    config, output = uninterrupted
    assert sorted(path.name for path in output.iterdir()) == [
        *("best-content.pt", "best.pt", "checkpoints", "config.yaml", "last.pt"),
        *("metrics.jsonl", "samples", "tensorboard"),
    ]
    checkpoints = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert checkpoints == ["0000008.pt", "0000010.pt"]
    assert (output / "last.pt").resolve().name == "0000010.pt"
    assert read_checkpoint(output / "last.pt").step == 10
    assert load_config(output / "config.yaml", []) == config
    names = sorted(path.name for path in (output / "samples").iterdir())
    assert names == ["0000004.png", "0000008.png", "0000010.png"]
    sample = cv2.imread(str(output / "samples" / names[0]))
    assert sample is not None
    assert sample.shape == (6 * 64, 3 * 64, 3)


def test_rows_of_a_run(uninterrupted):
    _, output = uninterrupted
    trained, validated = rows(output, TrainRecord), rows(output, ValidationRecord)
    assert [row.step for row in trained] == [2, 4, 6, 8, 10]
    assert [row.stage for row in trained] == ["content", "content", "warmup", "joint", "joint"]
    assert ["content" in row.losses for row in trained] == [True, True, False, True, True]
    # steps 4 and 8: a row has what any of its steps reports
    assert [row.gradient_penalty is not None for row in trained] == [False] * 2 + [
        True,
        False,
        True,
    ]
    assert [row.path_length is not None for row in trained] == [False] * 3 + [True, True]
    assert all(row.seconds_per_step > 0 for row in trained)
    assert (trained[-1].lr_g, trained[-1].lr_d) == (1e-6, 5e-7)  # their floors
    assert [row.step for row in validated] == [4, 8, 10]
    assert [row.step for row in rows(output, StartRecord)] == [0]
    assert [row.reason for row in rows(output, EndRecord)] == ["finished"]


def test_curves_and_grids_for_tensorboard(uninterrupted):
    _, output = uninterrupted
    curves = EventAccumulator(str(output / "tensorboard"))
    curves.Reload()
    assert {"train/d", "train/lr_g", "validation/psnr"} <= set(curves.Tags()["scalars"])
    psnr = [(event.step, event.value) for event in curves.Scalars("validation/psnr")]
    assert psnr == [(row.step, pytest.approx(row.psnr)) for row in rows(output, ValidationRecord)]
    assert [event.step for event in curves.Images("samples")] == [4, 8, 10]


def test_best_is_the_best_of_its_stage(uninterrupted):
    _, output = uninterrupted
    validated = rows(output, ValidationRecord)
    for name, stage in (("best-content.pt", Stage.CONTENT), ("best.pt", Stage.JOINT)):
        best = read_checkpoint(output / name)
        of_stage = [row for row in validated if row.stage is stage]
        highest = max(of_stage, key=lambda row: row.psnr)
        assert (best.step, best.standing["best"]) == (highest.step, highest.psnr)
        assert highest.best


@pytest.mark.parametrize("steps", [3, pytest.param(5, marks=pytest.mark.long), 7])
def test_a_resumed_run_equals_an_uninterrupted_one(uninterrupted, tmp_path, monkeypatch, steps):
    """Stopped by SIGTERM within the content stage, the warm-up, or a joint epoch."""
    config, whole = uninterrupted
    handler = signal.getsignal(signal.SIGTERM)
    stop_after(steps, monkeypatch)
    assert train(config, tmp_path) == "interrupted"
    assert signal.getsignal(signal.SIGTERM) == handler
    assert read_checkpoint(tmp_path / "last.pt").step == steps

    monkeypatch.undo()
    torch.manual_seed(123)  # whatever happened in between
    assert train(config, tmp_path, resume=tmp_path / "last.pt") == "finished"
    assert same(tmp_path / "last.pt", whole / "last.pt")
    for kind in (TrainRecord, ValidationRecord):
        assert [row.step for row in rows(tmp_path, kind)] == [r.step for r in rows(whole, kind)]
    assert [row.step for row in rows(tmp_path, StartRecord)] == [0, steps]


def test_going_back_takes_later_rows_back(uninterrupted, tmp_path, monkeypatch):
    """As after a crash, or from an earlier checkpoint; a changed setting is told of."""
    config, whole = uninterrupted
    (tmp_path / "metrics.jsonl").write_bytes((whole / "metrics.jsonl").read_bytes())
    stop_after(9, monkeypatch)
    changed = config.model_copy(update={"train": config.train.model_copy(update={"lr_g": 1e-4})})
    train(changed, tmp_path, resume=whole / "checkpoints" / "0000008.pt")
    assert [row.step for row in rows(tmp_path, TrainRecord)] == [2, 4, 6, 8]
    _, resumed = rows(tmp_path, StartRecord)
    assert resumed.step == 8
    assert resumed.changed == {"train.lr_g": ("0.0002", "0.0001")}
    assert (tmp_path / "last.pt").resolve().name == "0000009.pt"


def test_a_finished_run_is_finished(uninterrupted, tmp_path):
    config, whole = uninterrupted
    assert train(config, tmp_path, resume=whole / "last.pt") == "finished"
    assert list(tmp_path.iterdir()) == []


def test_early_stopping(make_config, face_folder, tmp_path):
    """No validation rises by 50 dB; those of the content stage do not count."""
    config = make_config(
        content={"epochs": 3},
        num_epochs=20,
        early_stopping={"patience": 2, "delta": 50},
        save_every=100,
    ).with_data(face_folder)
    assert train(config, tmp_path / "run") == "stopped early"
    validated = rows(tmp_path / "run", ValidationRecord)
    assert [row.step for row in validated] == [2, 4, 6, 10, 12, 14]
    assert rows(tmp_path / "run", EndRecord)[0].reason == "stopped early"
    checkpoint = read_checkpoint(tmp_path / "run" / "best.pt")
    assert checkpoint.standing["best"] == max(row.psnr for row in validated[3:] if row.best)
    # it stays stopped
    assert train(config, tmp_path / "run", resume=tmp_path / "run" / "last.pt") == "stopped early"
    assert read_checkpoint(tmp_path / "run" / "last.pt").step == 14


def test_holdout_is_what_is_validated(make_config, face_folder, tmp_path, caplog):
    holdout = face_folder / "holdout.txt"
    holdout.write_text("1.png\n4.png\n")
    config = make_config(num_epochs=1, content={"epochs": 0}).with_data(face_folder)
    config = config.model_copy(update={"data": config.data.model_copy(update={"holdout": holdout})})
    with caplog.at_level(logging.INFO):
        train(config, tmp_path / "run")
    assert "4 faces to train on, 2 to validate on" in caplog.text
    assert "a G that has learnt nothing" in caplog.text
    assert read_checkpoint(tmp_path / "run" / "last.pt").step == 1  # 4 // 3


def test_initial_weights(make_config, face_folder, tmp_path, caplog):
    """A run that begins with another's weights, and, in the warm-up, leaves its G alone."""
    config = make_config(seed=4)
    state = TrainingState.fresh(config)
    write_checkpoint(state.checkpoint(config, 2, [rng_state()]), tmp_path / "other.pt")
    initial = {"g": tmp_path / "other.pt", "d": tmp_path / "other.pt"}
    config = make_config(num_epochs=1, content={"epochs": 0}, initial=initial)
    with caplog.at_level(logging.INFO):
        train(config.with_data(face_folder), tmp_path / "run")
    assert "generator from" in caplog.text
    assert "discriminator from" in caplog.text
    assert "learnt nothing" not in caplog.text
    last = read_checkpoint(tmp_path / "run" / "last.pt")
    for key, value in state.generator.state_dict().items():
        assert torch.equal(last.g[key], value)
    assert any(
        not torch.equal(last.d[key], value)
        for key, value in state.discriminator.state_dict().items()
    )


@pytest.mark.parametrize("steps", [pytest.param(5, marks=pytest.mark.long), 7])
def test_projected_and_balanced_runs_resume_exactly(make_config, face_folder, tmp_path, steps):
    """Spectral norm's vectors go on where they were."""
    losses = {"balance": True, "perceptual": 2, "adversarial_pixels": 1}
    config = make_config(discriminator="projected", losses=losses).with_data(face_folder)
    train(config, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(steps, patch)
        assert train(config, tmp_path / "resumed") == "interrupted"
    torch.manual_seed(123)
    last = tmp_path / "resumed" / "last.pt"
    train(config, tmp_path / "resumed", resume=last)
    assert same(last, tmp_path / "whole" / "last.pt")


@pytest.fixture
def short(make_config, face_folder) -> Config:
    """Six steps of the content stage and nothing else, a checkpoint at every second."""
    config: Config = make_config(
        content={"steps": 5}, num_epochs=None, num_steps=1, warmup_epochs=None, max_skipped=1
    )
    return config.with_data(face_folder)


def test_a_gradient_that_is_not_finite_is_left_out(short, tmp_path, monkeypatch, caplog):
    poison({2}, monkeypatch)
    assert train(short, tmp_path / "run") == "finished"
    assert "step 2 is skipped: the gradient of the FullGenerator is nan" in caplog.text
    trained = rows(tmp_path / "run", TrainRecord)
    assert [(row.step, row.steps, row.skipped) for row in trained] == [
        (2, 2, 0),
        (4, 1, 1),
        (6, 2, 0),
    ]


def test_many_end_the_run_and_a_restart_passes_them_by(short, tmp_path, monkeypatch, caplog):
    """Unchanged, it would fail there forever; the checkpoint is from before the failure."""
    output = tmp_path / "run"
    poison({2, 3}, monkeypatch)
    with pytest.raises(
        NonFiniteGradientError, match=r"step 3, content .* 2 of the last .*--resume"
    ):
        train(short, output)
    (end,) = rows(output, EndRecord)
    assert (end.step, end.failed) == (3, True)
    assert read_checkpoint(output / "last.pt").step == 2
    assert train(short, output, resume=output / "last.pt") == "finished"
    assert "It continues with the weights of step 2 and the faces after that step" in caplog.text
    assert [row.step for row in rows(output, StartRecord)] == [0, 4]
    assert read_checkpoint(output / "last.pt").step == 6


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's
def test_a_full_disk_does_not_end_a_run(short, tmp_path, monkeypatch, caplog):
    """From the third step to the fifth: then there is room again, and all is written."""
    output = tmp_path / "run"
    (output / "checkpoints").mkdir(parents=True)
    (output / "checkpoints" / "0000009.tmp").write_text("of a run that was killed")

    with ExitStack() as disk:

        def step(state, *arguments):
            if state.step == 2:
                disk.enter_context(full_disk(1000))
            if state.step == 5:
                disk.close()
            return training_step(state, *arguments)

        monkeypatch.setattr("model.training.trainer.training_step", step)
        assert train(short, output) == "finished"
    assert "0000004.pt cannot be written: File too large; training continues" in caplog.text
    names = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert names == ["0000000.pt", "0000002.pt", "0000006.pt"]
    assert [row.step for row in rows(output, TrainRecord)] == [2, 4, 6]
    curves = EventAccumulator(str(output / "tensorboard"))
    curves.Reload()
    assert curves.Scalars("train/lr_g")[-1].step == 6


def test_an_output_among_the_faces_is_refused(short, face_folder):
    with pytest.raises(ValueError, match="its samples would be trained on"):
        train(short, face_folder / "run")
