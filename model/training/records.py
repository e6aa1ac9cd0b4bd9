"""What a run writes down of itself: the rows of ``metrics.jsonl``, each a JSON object of one kind.

Rows are written once and read by whoever wants to know: the health rules, ``model.runs``, a
notebook.  What does not apply to a row is left out of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from model.files import written_whole
from model.training.schedule import Stage


class _Row(BaseModel):
    # a PSNR can be infinite, and a loss may run away: Python's json reads both
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


WEIGHT_PREFIX = "weight_"


class StepReport(_Row):
    """What a step of training has to say, or the means over several; None where it says nothing."""

    losses: dict[str, float] = {}
    """The terms of G's loss, unweighted, by the names of ``LossConfig``.  ``adversarial`` is the
    non-saturating loss of ``stylegan2``, 0.693 = ln 2 at chance, or minus the mean logit of
    ``projected``."""
    weights: dict[str, float] = {}
    """Of these terms, where they are balanced (``model.balance``)."""
    path_length: float | None = None
    """Mean length, which the regulariser holds steady."""
    d: float | None = None
    """Loss of D without R1.  At chance: 1.386 = 2 ln 2 of ``stylegan2``, 2 of ``projected``."""
    d_pixels: float | None = None
    """That of the projected discriminator's head on pixels."""
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

    @classmethod
    def of(cls, values: Mapping[str, float]) -> StepReport:
        """Of values by name: those that are no fields of their own are terms of G's loss.

        The weight of a term has the term's name after ``WEIGHT_PREFIX``.
        """
        own = {name: value for name, value in values.items() if name in cls.model_fields}
        terms = {name: value for name, value in values.items() if name not in own}
        weights = {
            name.removeprefix(WEIGHT_PREFIX): value
            for name, value in terms.items()
            if name.startswith(WEIGHT_PREFIX)
        }
        losses = {name: x for name, x in terms.items() if not name.startswith(WEIGHT_PREFIX)}
        return cls.model_validate(own | {"losses": losses, "weights": weights})

    def numbers(self) -> dict[str, float]:
        """The values that are known, by the names that :meth:`of` takes."""
        weights = {f"{WEIGHT_PREFIX}{name}": x for name, x in self.weights.items()}
        return self.losses | weights | self._fields()

    def shown(self) -> dict[str, str]:
        """Losses, norms and rates, for a progress bar or a line of a log."""
        return {name: f"{value:.3g}" for name, value in (self.losses | self._fields()).items()}

    def _fields(self) -> dict[str, float]:
        names = [name for name in StepReport.model_fields if name not in ("losses", "weights")]
        return {name: x for name in names if (x := getattr(self, name)) is not None}

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
    total_steps: int | None = None
    """Of all stages."""
    stage_left: int | None = None
    """Steps that the stage still takes."""
    seconds_left: float | None = None
    """Until the end of training, validations aside."""
    images_per_second: float | None = None
    seconds_waiting: float | None = None
    """Of a step: how long the training waited for its pictures."""
    gpu_memory: float | None = None
    """The most that tensors took on the first process's GPU, in GiB."""
    skipped: int = 0
    """Steps left out since the row before, as a gradient was not finite."""
    core_seconds: dict[str, float] = {}
    """Processor time of a step by part, over all processes; of loader workers none is known."""
    images_per_core_second: float | None = None
    """On processors."""

    def speed(self) -> dict[str, float]:
        """What there is to draw of the time and the memory that a step takes."""
        names = ("seconds_per_step", "images_per_second", "seconds_waiting", "gpu_memory")
        return {name: x for name in names if (x := getattr(self, name)) is not None}

    def __str__(self) -> str:
        total = f" of {self.total_steps}" if self.total_steps is not None else ""
        line = (
            f"step {self.step}{total}, epoch {self.epoch:.2f}, {self.stage}: "
            f"{super().__str__()}, {self.seconds_per_step:.3g} s a step"
        )
        if self.seconds_waiting is not None:
            line += f" ({self.seconds_waiting:.2g} s of it waiting for pictures)"
        if self.images_per_second is not None:
            line += f", {self.images_per_second:.3g} images a second"
        if self.gpu_memory is not None:
            line += f", {self.gpu_memory:.1f} GiB"
        if self.seconds_left is not None:
            line += f", {timedelta(seconds=round(self.seconds_left))} left"
        if self.skipped:
            line += f", {self.skipped} steps left out"
        if self.images_per_core_second is not None:
            parts = ", ".join(f"{name} {value:.2g}" for name, value in self.core_seconds.items())
            line += f", {self.images_per_core_second:.3g} images a core-second ({parts})"
        if self.weights:
            weights = ", ".join(f"{name} {value:.3g}" for name, value in self.weights.items())
            line += f"; weights: {weights}"
        return line


class ValidationRecord(_Row):
    """Scores of G's moving average on the held-out faces (``model.evaluation.metrics``)."""

    event: Literal["validation"] = "validation"
    step: int
    epoch: float
    stage: Stage
    time: float
    psnr: float
    ssim: float
    sharpness: float
    perceptual: float | None = None
    lpips: float | None = None
    identity: float | None = None
    """1 - cosine of ArcFace embeddings: 0 is the same face."""
    niqe: float | None = None
    best: bool
    """Better than any validation of the stage before, by ``validation.metric``."""

    def scores(self) -> dict[str, float]:
        """What was measured, by name."""
        names = {"psnr", "ssim", "sharpness", "perceptual", "lpips", "identity", "niqe"}
        return self.model_dump(include=names, exclude_none=True)

    def __str__(self) -> str:
        others = {
            "perceptual": self.perceptual,
            "LPIPS": self.lpips,
            "identity": self.identity,
            "NIQE": self.niqe,
        }
        measured = "".join(f", {k} {v:.4g}" for k, v in others.items() if v is not None)
        return (
            f"step {self.step}, validation: PSNR {self.psnr:.2f} dB, SSIM {self.ssim:.4f}, "
            f"sharpness {self.sharpness:.3g}{measured}{', the best so far' if self.best else ''}"
        )


class HealthRecord(_Row):
    """A sign of trouble (``model.training.health``), written when it comes up."""

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
    failed: bool = False
    """Whether gradients that were not finite ended it, at this step."""

    def __str__(self) -> str:
        return f"step {self.step}: {self.reason}"


Record = StartRecord | TrainRecord | ValidationRecord | HealthRecord | EndRecord
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="event")])


def mean_report(
    reports: Sequence[StepReport], average: Callable[[list[float]], list[float]] = list
) -> StepReport:
    """Mean of each value over the steps that report it; learning rates are the last step's.

    With float16 a norm is infinite now and then, where the update was skipped: such values are left
    out.  ``average`` is over the processes, which report values of the same names.
    """
    names = sorted({name for report in reports for name in report.numbers()})
    columns = [[report.numbers().get(name, math.nan) for report in reports] for name in names]
    finite = [[value for value in column if math.isfinite(value)] for column in columns]
    # sums and counts: not every process need have as many values to report
    totals = average([sum(values) for values in finite] + [len(values) for values in finite])
    sums, counts = totals[: len(names)], totals[len(names) :]
    means = {
        name: total / count for name, total, count in zip(names, sums, counts, strict=True) if count
    }
    last = reports[-1].model_dump(include={"lr_g", "lr_d"}, exclude_none=True)
    return StepReport.of(means | last)


def append_records(path: Path, records: Sequence[Record]) -> None:
    """Write rows at the end of the file: all of them, or none.  Raises OSError."""
    data = b"".join(_line(record) for record in records)
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            while data:  # of what the disk has no room for, a part may be written
                data = data[file.write(data) :]
        except OSError as error:
            file.truncate(before)
            raise OSError(f"{path} cannot be written: {error.strerror}") from error


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


def rewrite_records(path: Path, records: Sequence[Record]) -> None:
    """Replace the file; it is whole at any time.  Raises OSError."""
    with written_whole(path) as file:
        file.writelines(_line(record) for record in records)


def _line(record: Record) -> bytes:
    values = record.model_dump(mode="json", exclude_none=True)
    first = {"event": record.event, "step": record.step}  # what a reader looks for
    return json.dumps(first | values).encode() + b"\n"
