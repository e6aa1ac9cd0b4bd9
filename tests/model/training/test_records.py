import json
import math

import pytest

from model.training.records import (
    EndRecord,
    HealthRecord,
    Record,
    StepReport,
    TrainRecord,
    ValidationRecord,
    append_records,
    mean_report,
    read_records,
    rewrite_records,
)
from model.training.schedule import Stage
from tests.model.conftest import full_disk

TRAINED = TrainRecord(
    step=2, epoch=1, progress=0.1, stage=Stage.JOINT, time=5, steps=2, seconds_per_step=0.5, d=1.25
)
ROWS: list[Record] = [
    TRAINED,
    ValidationRecord(
        step=2, epoch=1, stage=Stage.JOINT, time=6, psnr=float("inf"), ssim=1, sharpness=1,
        best=True,
    ),
    HealthRecord(step=3, time=7, rule="runaway_logits", message="far too large"),
    EndRecord(step=4, time=8, reason="finished"),
]  # fmt: skip


def test_rows_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_records(path, ROWS[:1])
    append_records(path, ROWS[1:])
    assert read_records(path) == ROWS
    first = json.loads(path.read_text().splitlines()[0])
    assert list(first)[:2] == ["event", "step"]
    assert "content" not in first  # which it does not report
    rewrite_records(path, ROWS[:2])
    assert read_records(path) == ROWS[:2]
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_that_was_not_finished_is_no_row(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_records(path, [TRAINED])
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    assert read_records(path) == [TRAINED]
    path.write_text(whole[:40] + "\n" + whole)
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1") as raised:
        read_records(path)
    assert "\n" not in str(raised.value)


def test_means_are_over_the_steps_that_report():
    reports = [
        StepReport(d=1, gradient_penalty=5, lr_g=3),
        StepReport(d=2, lr_g=2),
        StepReport(d=6, lr_g=1),
    ]
    assert mean_report(reports) == StepReport(d=3, gradient_penalty=5, lr_g=1)


def test_means_over_processes_weigh_what_each_reports():
    """The other process reports a D of 9 three times, and no penalty that is finite."""
    reports = [StepReport(d=1, gradient_penalty=5), StepReport(d=2), StepReport(d=3)]
    other = [27.0, 0.0, 3.0, 0.0]  # sums of d and of the penalty, then how many there are

    def average(values: list[float]) -> list[float]:
        return [(ours + theirs) / 2 for ours, theirs in zip(values, other, strict=True)]

    assert mean_report(reports, average) == StepReport(d=5.5, gradient_penalty=5)


def test_values_that_are_not_finite_are_left_out_of_the_mean():
    reports = [
        StepReport(losses={"content": 1}, grad_norm_g=math.inf),
        StepReport(losses={"content": 3}, grad_norm_g=2),
    ]
    assert mean_report(reports) == StepReport(losses={"content": 2}, grad_norm_g=2)
    assert mean_report(reports[:1]) == StepReport(losses={"content": 1})


def test_what_is_no_field_is_a_term_of_the_loss():
    """So that a loss that is added is logged without being named here."""
    report = StepReport.of({"content": 0.5, "sparkle": 2.0, "d": 1.0, "lr_g": 1e-3})
    assert report.losses == {"content": 0.5, "sparkle": 2.0}
    assert report.numbers() == {"content": 0.5, "sparkle": 2.0, "d": 1.0, "lr_g": 1e-3}
    assert "sparkle 2" in str(report)


def test_rows_that_do_not_fit_on_the_disk_leave_nothing(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_records(path, ROWS[:1])
    before = path.read_bytes()
    message = r"metrics\.jsonl cannot be written: File too large"
    with full_disk(len(before) + 50), pytest.raises(OSError, match=message):
        append_records(path, ROWS[1:])
    assert path.read_bytes() == before


def test_lines_of_the_log():
    long = TRAINED.model_copy(
        update={
            "total_steps": 900,
            "seconds_waiting": 0.04,
            "images_per_second": 16,
            "seconds_left": 3725.2,
            "gpu_memory": 31.24,
            "skipped": 2,
        }
    )
    assert str(long) == (
        "step 2 of 900, epoch 1.00, joint: d 1.25, 0.5 s a step (0.04 s of it waiting for "
        "pictures), 16 images a second, 31.2 GiB, 1:02:05 left, 2 steps skipped"
    )
    assert str(TRAINED) == "step 2, epoch 1.00, joint: d 1.25, 0.5 s a step"
    assert "PSNR inf dB" in str(ROWS[1])
    assert str(ROWS[2]) == "step 3, runaway logits: far too large"
