"""What a run writes down of itself: the rows of ``metrics.jsonl``, each a JSON object of one kind.

Rows are written once and read by whoever wants to know: the health rules, ``model.runs``, a
notebook.  What does not apply to a row is left out of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from model.schedule import Stage


class _Row(BaseModel):
    # a PSNR can be infinite, and a loss may run away: Python's json reads both
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


class StepReport(_Row):
    """What a step of training has to say, or the means over several; None where it says nothing."""

    content: float | None = None
    lpips: float | None = None
    identity: float | None = None
    adversarial: float | None = None
    """Non-saturating loss of G; 0.693 = ln 2 at chance."""
    feature_matching: float | None = None
    path_length: float | None = None
    """Mean length, which the regulariser holds steady."""
    d: float | None = None
    """Logistic loss of D, without R1; 1.386 = 2 ln 2 at chance."""
    d_real: float | None = None
    """Mean logit of real pictures."""
    d_fake: float | None = None
    d_real_sign: float | None = None
    """Mean sign of real pictures' logits: 1 when D knows them by heart (r_t of StyleGAN2-ADA)."""
    gradient_penalty: float | None = None
    """Mean squared norm of D's gradient at real pictures: R1 without its weight."""
    grad_norm_g: float | None = None
    """Before clipping."""
    grad_norm_d: float | None = None
    lr_g: float | None = None
    lr_d: float | None = None

    def shown(self) -> dict[str, str]:
        """What is known, for a progress bar or a line of a log."""
        values = {name: getattr(self, name) for name in StepReport.model_fields}
        return {name: f"{value:.3g}" for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.shown().items())


class StartRecord(_Row):
    """A run begins, or goes on."""

    event: Literal["start"] = "start"
    step: int
    time: float
    faces: int
    validated: int
    degraded_psnr: float
    degraded_ssim: float
    device: str
    processes: int
    micro_batch: int
    changed: dict[str, tuple[str, str]] = {}
    """Settings that are not those of the checkpoint gone on from: before and after."""

    def __str__(self) -> str:
        return (
            f"{self.faces} faces to train on, {self.validated} to validate on "
            f"(degraded: PSNR {self.degraded_psnr:.2f} dB, SSIM {self.degraded_ssim:.4f}); "
            f"{self.processes} x {self.device}, micro-batches of {self.micro_batch}"
        )


class TrainRecord(StepReport):
    """Means over the steps since the row before."""

    event: Literal["train"] = "train"
    step: int
    epoch: float
    progress: float
    """Share of all steps that are done, 0 to 1."""
    stage: Stage
    time: float
    steps: int
    seconds_per_step: float

    def __str__(self) -> str:
        return (
            f"step {self.step}, epoch {self.epoch:.2f}, {self.stage}: {super().__str__()}, "
            f"{self.seconds_per_step:.3g} s a step"
        )


class ValidationRecord(_Row):
    """Scores of G's moving average on the held-out faces (``model.metrics``)."""

    event: Literal["validation"] = "validation"
    step: int
    epoch: float
    stage: Stage
    time: float
    psnr: float
    ssim: float
    sharpness: float
    best: bool
    """Better than any validation of the stage before."""

    def __str__(self) -> str:
        return (
            f"step {self.step}, validation: PSNR {self.psnr:.2f} dB, SSIM {self.ssim:.4f}, "
            f"sharpness {self.sharpness:.3g}{', the best so far' if self.best else ''}"
        )


class HealthRecord(_Row):
    """A sign of trouble (``model.health``), written when it comes up."""

    event: Literal["health"] = "health"
    step: int
    time: float
    rule: str
    message: str

    def __str__(self) -> str:
        return f"step {self.step}, {self.rule.replace('_', ' ')}: {self.message}"


class EndRecord(_Row):
    """A run ends, or stops to be gone on with."""

    event: Literal["end"] = "end"
    step: int
    time: float
    reason: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.reason}"


Record = StartRecord | TrainRecord | ValidationRecord | HealthRecord | EndRecord
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="event")])


def mean_report(
    reports: Sequence[StepReport], average: Callable[[list[float]], list[float]] = list
) -> StepReport:
    """Mean of each value over the steps that report it; learning rates are the last step's.

    ``average`` is over the processes.
    """
    names = list(StepReport.model_fields)
    columns = [[getattr(report, name) for report in reports] for name in names]
    known = [[value for value in column if value is not None] for column in columns]
    # sums and counts: not every process need have the same values to report
    totals = average([sum(values) for values in known] + [len(values) for values in known])
    sums, counts = totals[: len(names)], totals[len(names) :]
    means = {
        name: total / count for name, total, count in zip(names, sums, counts, strict=True) if count
    }
    return StepReport(**means | {"lr_g": reports[-1].lr_g, "lr_d": reports[-1].lr_d})


def append_record(path: Path, record: Record) -> None:
    """Write a row at the end of the file.  Raises OSError."""
    values = record.model_dump(mode="json", exclude_none=True)
    row = {
        "event": record.event,
        "step": record.step,
    } | values  # for who reads it over the shoulder
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def read_records(path: Path) -> list[Record]:
    """All rows; of a last one that is half written, as a killed process leaves it, nothing.

    Raises OSError, or ValueError naming a line that is no row.
    """
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_RECORD.validate_json(line))
        except ValidationError as error:
            raise ValueError(f"{path}, line {number}: {error.errors()[0]['msg']}") from error
    return records


def rewrite_records(path: Path, records: Iterable[Record]) -> None:
    """Replace the file; it is whole at any time.  Raises OSError."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    temporary.touch()
    for record in records:
        append_record(temporary, record)
    temporary.replace(path)
