import json

import pytest

from model.runs import differing, main, read_run, table
from model.training.records import (
    EndRecord,
    HealthRecord,
    Record,
    StartRecord,
    TrainRecord,
    ValidationRecord,
    append_records,
)
from model.training.run_folder import RunFolder
from model.training.schedule import Stage


@pytest.fixture
def make_run(make_config, tmp_path):
    """A run's folder, with changes to its configuration and a best PSNR."""

    def make_run(name: str, psnr: float, *more: Record, **changes):
        folder = RunFolder(tmp_path / name)
        folder.open(make_config(**changes), 0)
        folder.close()
        rows: list[Record] = [
            StartRecord(
                step=0, time=0, faces=6, validated=6, degraded_psnr=20, degraded_ssim=0.5,
                device="cpu", processes=1, micro_batch=3,
            ),
            TrainRecord(
                step=4, epoch=2, progress=0.4, stage=Stage.CONTENT, time=9, steps=4,
                seconds_per_step=2,
            ),
        ]  # fmt: skip
        scores = [(4, Stage.CONTENT, 30.0), (8, Stage.JOINT, psnr), (10, Stage.JOINT, psnr - 1)]
        rows += [
            ValidationRecord(
                step=step, epoch=1, stage=stage, time=9, psnr=value, ssim=0.7, sharpness=0.4,
                best=True,
            )
            for step, stage, value in scores
        ]  # fmt: skip
        append_records(folder.metrics, [*rows, *more])
        return folder.path

    return make_run


def test_what_became_of_a_run(make_run):
    trouble = HealthRecord(step=9, time=1, rule="memorising_d", message="...")
    end = EndRecord(step=10, time=10, reason="finished")
    run = read_run(make_run("a", 24.0, trouble, end))
    assert (run.state, run.steps, run.seconds) == ("finished", 10, 8)
    # of the joint stage: before, there is no D to please, and PSNR is higher
    assert (run.best_psnr, run.best_step, run.best_ssim) == (24, 8, 0.7)
    assert run.troubles == {"memorising_d": 1}
    assert run.settings["train.lr_g"] == "0.0002"


def test_runs_side_by_side(make_run):
    paths = make_run("a", 24.0), make_run("b", 25.5, lr_g=1e-4)
    runs = [read_run(path) for path in paths]
    assert differing(runs) == ["train.lr_g"]
    lines = table(runs).splitlines()
    assert lines[1].split() == ["train.lr_g", "0.0002", "0.0001"]
    assert any(line.split() == ["best", "PSNR", "24.00", "dB", "25.50", "dB"] for line in lines)
    assert "settings differ" not in table(runs)
    third = read_run(make_run("c", 25.0, lr_g=1e-4, lr_d=3e-4))
    assert "2 settings differ" in table([*runs, third])


def test_command(make_run, tmp_path, capsys):
    paths = [str(make_run("a", 24.0)), str(make_run("b", 25.5, lr_g=1e-4))]
    main([*paths, "--json", str(tmp_path / "runs.json")])
    assert "best PSNR" in capsys.readouterr().out
    document = json.loads((tmp_path / "runs.json").read_text())
    assert [run["best_psnr"] for run in document] == [24.0, 25.5]
    with pytest.raises(SystemExit, match=r"^error: .*none"):
        main([str(tmp_path / "none")])
