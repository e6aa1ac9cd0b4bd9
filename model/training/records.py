"""The rows of ``metrics.jsonl``: JSON objects of several kinds.

They are read by the health rules, by ``model.runs`` and in notebooks.  Fields that do not apply to
a row are left out.
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
    # a PSNR or a loss can be infinite or NaN; Python's json reads both
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


WEIGHT_PREFIX = "weight_"


class StepReport(_Row):
    """The values that a training step reports, or means over several steps; None for no value."""

    losses: dict[str, float] = {}
    """The terms of G's loss, unweighted, by the names of ``LossConfig``.  ``adversarial`` is the
    non-saturating loss of ``stylegan2``, 0.693 = ln 2 at chance, or minus the mean logit of
    ``projected``."""
    weights: dict[str, float] = {}
    """Weights of these terms, if they are balanced (``model.training.balance``)."""
    path_length: float | None = None
    """Mean path length, which the regulariser keeps steady."""
    d: float | None = None
    """Loss of D without R1.  At chance: 1.386 = 2 ln 2 of ``stylegan2``, 2 of ``projected``."""
    d_pixels: float | None = None
    """The same for the projected discriminator's head on pixels."""
    d_real: float | None = None
    """Mean logit of real pictures."""
    d_fake: float | None = None
    d_real_sign: float | None = None
    """Mean sign of the logits of real pictures; 1 if D has memorised them (StyleGAN2-ADA's r_t)."""
    gradient_penalty: float | None = None
    """Mean squared norm of D's gradient at real pictures: R1 without its weight."""
    grad_norm_g: float | None = None
    """Before clipping."""
    grad_norm_d: float | None = None
    lr_g: float | None = None
    lr_d: float | None = None

    @classmethod
    def of(cls, values: Mapping[str, float]) -> StepReport:
        """Sort values into fields: names that are not fields are terms of G's loss.

        The name of a weight is ``WEIGHT_PREFIX`` and the name of its term.
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
        """All values that were reported, by the names that :meth:`of` takes."""
        weights = {f"{WEIGHT_PREFIX}{name}": x for name, x in self.weights.items()}
        return self.losses | weights | self._fields()

    def shown(self) -> dict[str, str]:
        """Losses, norms and rates as text, for the progress bar and the log."""
        return {name: f"{value:.3g}" for name, value in (self.losses | self._fields()).items()}

    def _fields(self) -> dict[str, float]:
        names = [name for name in StepReport.model_fields if name not in ("losses", "weights")]
        return {name: x for name in names if (x := getattr(self, name)) is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.shown().items())


class StartRecord(_Row):
    """A run starts or continues."""

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
    """Settings that were changed since the checkpoint: their old and new values."""

    def __str__(self) -> str:
        return (
            f"{self.faces} faces to train on, {self.validated} to validate on "
            f"(degraded: PSNR {self.degraded_psnr:.2f} dB, SSIM {self.degraded_ssim:.4f}); "
            f"{self.processes} x {self.device}, micro-batches of {self.micro_batch}"
        )


class TrainRecord(StepReport):
    """Means over the steps since the previous row."""

    event: Literal["train"] = "train"
    step: int
    epoch: float
    progress: float
    """Share of all steps that are done, from 0 to 1."""
    stage: Stage
    time: float
    steps: int
    seconds_per_step: float
    total_steps: int | None = None
    """Steps of all stages."""
    stage_left: int | None = None
    """Remaining steps of the stage."""
    seconds_left: float | None = None
    """Until the end of training, without validations."""
    images_per_second: float | None = None
    seconds_waiting: float | None = None
    """Time in a step that was spent waiting for pictures."""
    gpu_memory: float | None = None
    """Peak memory of tensors on the first process's GPU, in GiB."""
    skipped: int = 0
    """Steps since the previous row that were skipped because a gradient was not finite."""
    core_seconds: dict[str, float] = {}
    """Processor time of a step by part, over all processes, without loader workers."""
    images_per_core_second: float | None = None
    """Only on CPUs."""

    def speed(self) -> dict[str, float]:
        """Time and memory of a step, for the curves."""
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
            line += f", {self.skipped} steps skipped"
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
    """Whether it is the best validation of the stage so far, by ``validation.metric``."""

    def scores(self) -> dict[str, float]:
        """The scores that were measured, by name."""
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
    """A sign of trouble (``model.training.health``), written when it first appears."""

    event: Literal["health"] = "health"
    step: int
    time: float
    rule: str
    message: str

    def __str__(self) -> str:
        return f"step {self.step}, {self.rule.replace('_', ' ')}: {self.message}"


class EndRecord(_Row):
    """A run is complete, was interrupted, or failed."""

    event: Literal["end"] = "end"
    step: int
    time: float
    reason: str
    failed: bool = False
    """Whether gradients that were not finite ended it at this step."""

    def __str__(self) -> str:
        return f"step {self.step}: {self.reason}"


Record = StartRecord | TrainRecord | ValidationRecord | HealthRecord | EndRecord
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="event")])


def mean_report(
    reports: Sequence[StepReport], average: Callable[[list[float]], list[float]] = list
) -> StepReport:
    """Mean of each value over the steps that report it; learning rates are those of the last step.

    With float16, a norm is sometimes infinite because the update was skipped: such values do not
    count.  ``average`` computes means over the processes, which all report the same names.
    """
    names = sorted({name for report in reports for name in report.numbers()})
    columns = [[report.numbers().get(name, math.nan) for report in reports] for name in names]
    finite = [[value for value in column if math.isfinite(value)] for column in columns]
    # sums and counts, because processes may have different numbers of values to report
    totals = average([sum(values) for values in finite] + [len(values) for values in finite])
    sums, counts = totals[: len(names)], totals[len(names) :]
    means = {
        name: total / count for name, total, count in zip(names, sums, counts, strict=True) if count
    }
    last = reports[-1].model_dump(include={"lr_g", "lr_d"}, exclude_none=True)
    return StepReport.of(means | last)


def append_records(path: Path, records: Sequence[Record]) -> None:
    """Append all rows to the file, or none of them.  Raises OSError."""
    data = b"".join(_line(record) for record in records)
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            while data:  # a full disk may take a part of the data
                data = data[file.write(data) :]
        except OSError as error:
            file.truncate(before)
            raise OSError(f"{path} cannot be written: {error.strerror}") from error


def read_records(path: Path) -> list[Record]:
    """All rows, except for a last one that a killed process has written only in part.

    Raises OSError, or ValueError naming a line that is not a row.
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
    """Replace the file atomically.  Raises OSError."""
    with written_whole(path) as file:
        file.writelines(_line(record) for record in records)


def _line(record: Record) -> bytes:
    values = record.model_dump(mode="json", exclude_none=True)
    first = {"event": record.event, "step": record.step}  # easier to read
    return json.dumps(first | values).encode() + b"\n"
