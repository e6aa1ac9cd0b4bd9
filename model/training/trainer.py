"""The training loop: steps, and what is due between them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from model.data.dataset import open_training_data
from model.data.sampling import batches_per_epoch
from model.training.config import Config
from model.training.config_file import differences
from model.training.generator_losses import Judges
from model.training.health import Watch
from model.training.loading import load_steps
from model.training.processes import Processes
from model.training.records import (
    EndRecord,
    Record,
    StartRecord,
    StepReport,
    TrainRecord,
    ValidationRecord,
    mean_report,
)
from model.training.run_folder import RunFolder
from model.training.schedule import Stage, stage_at, total_steps
from model.training.state import (
    TrainingCheckpoint,
    TrainingState,
    read_checkpoint,
    rng_state,
    write_checkpoint,
)
from model.training.steps import NonFiniteGradientError, Setup, training_step
from model.training.validation import Validator

log = logging.getLogger(__name__)

FINISHED, INTERRUPTED, STOPPED_EARLY = "finished", "interrupted", "stopped early"


class Trainer:
    """A run, as one of its processes has it.

    Raises OSError or ValueError for data, weights or settings that cannot be used.
    """

    def __init__(self, config: Config, output: Path, processes: Processes) -> None:
        train = config.train
        self.config, self.processes = config, processes
        if train.threads is not None:
            torch.set_num_threads(train.threads)
        self.folder = RunFolder(output)
        self.micro_batch = train.micro_batch(processes.count)
        self.dataset, validated = open_training_data(
            config.data, train.img_size, train.seed, validate=processes.first
        )
        self.validator: Validator | None = None
        if processes.first:
            self.validator = Validator(validated, config, processes.device)
        if len(self.dataset) < train.batch_size and self.micro_batch < train.batch_size:
            raise ValueError(
                f"{len(self.dataset)} faces do not fill a batch of {train.batch_size}, "
                "which processes or accumulation are to share"
            )
        self.per_epoch = batches_per_epoch(len(self.dataset), train.batch_size)
        self.stop = total_steps(self.per_epoch, train)
        self.state = TrainingState.fresh(config, processes.device)
        generator = self.state.generator
        self.setup = Setup(
            config=train,
            per_epoch=self.per_epoch,
            generate=torch.compile(generator) if train.compile else generator,
            judges=Judges.load(
                train.losses, processes.device, projected=train.discriminator == "projected"
            ),
            team=processes,
        )
        self.watch = Watch.after(train, [])
        self.changed: dict[str, tuple[str, str]] = {}

    def restore(self, path: Path) -> None:
        """Take up a checkpoint.  Raises OSError or ValueError."""
        checkpoint = read_checkpoint(path)
        self.state.restore(checkpoint, self.config, self.processes.index)
        self.changed = differences(Config.model_validate(checkpoint.config), self.config)
        for name, (before, now) in self.changed.items():
            log.info("changed since the checkpoint: %s, %s -> %s", name, before, now)
        if checkpoint.per_epoch != self.per_epoch:
            log.warning(
                "an epoch had %d steps and has %d now: stages and learning rates move",
                *(checkpoint.per_epoch, self.per_epoch),
            )

    def run(self, interrupted: Callable[[], bool]) -> str:
        """Train to the end, or until there is a reason to stop; returns which.

        Raises OSError, or NonFiniteGradientError, which says what happened and what to change.
        """
        if self.state.step >= self.stop:
            return FINISHED
        if self._out_of_patience():
            return STOPPED_EARLY
        self._begin()
        try:
            reason = self._steps(interrupted)
        except NonFiniteGradientError as error:
            self._record(EndRecord(step=self.state.step, time=time.time(), reason=str(error)))
            raise
        finally:
            self.folder.close()
        self._record(EndRecord(step=self.state.step, time=time.time(), reason=reason))
        self.processes.wait()  # nobody leaves before all is written
        return reason

    def _steps(self, interrupted: Callable[[], bool]) -> str:
        train, state, processes = self.config.train, self.state, self.processes
        batches = load_steps(
            self.dataset, self.config, state.step, self.stop, processes.device,
            processes.index, processes.count,
        )  # fmt: skip
        progress = tqdm(
            self.setup.stopwatch.each("data", batches),
            initial=state.step,
            total=self.stop,
            unit="step",
            dynamic_ncols=True,
            disable=None if processes.first else True,  # None: but on a terminal
        )
        reports: list[StepReport] = []
        started = time.monotonic()
        self.setup.stopwatch.read()
        for micro_batches in progress:
            try:
                reports.append(training_step(state, micro_batches, self.setup))
            except NonFiniteGradientError as error:
                raise NonFiniteGradientError(self._explain(error, reports)) from error
            progress.set_postfix(reports[-1].shown())
            epoch_ends = state.step % self.per_epoch == 0 or state.step == self.stop
            if epoch_ends or state.step % train.log_every == 0:
                self._report(reports, time.monotonic() - started)
                reports.clear()
                started = time.monotonic()
            reason = FINISHED if state.step == self.stop else None
            rng = None
            if epoch_ends and self._validation_is_due():
                rng = processes.gather(rng_state())
                if processes.any(processes.first and self._validate(rng)):
                    reason = STOPPED_EARLY
                started = time.monotonic()
                self.setup.stopwatch.read()  # what validating took is no part of a step
            if processes.any(interrupted()):
                reason = reason or INTERRUPTED
            if reason or epoch_ends or state.step % train.save_every == 0:
                self._save(rng or processes.gather(rng_state()))
            if reason:
                return reason
        return FINISHED

    def _begin(self) -> None:
        """Open the folder, and write a first checkpoint, so that there is one to go back to."""
        state, processes = self.state, self.processes
        for network in (state.generator, state.discriminator, state.ema):
            processes.copy_first(network)
        for doubt in self.config.train.doubts(processes.count):
            log.warning("warning: %s", doubt)
        rng = processes.gather(rng_state())
        if not processes.first:
            return
        rows = self.folder.open(self.config, state.step)
        self.watch = Watch.after(self.config.train, rows)
        assert self.validator is not None
        degraded = self.validator.degraded()
        self._record(
            StartRecord(
                step=state.step,
                time=time.time(),
                faces=len(self.dataset),
                validated=len(self.validator),
                degraded_psnr=degraded["psnr"],
                degraded_ssim=degraded["ssim"],
                device=str(processes.device),
                processes=processes.count,
                micro_batch=self.micro_batch,
                changed=self.changed,
            )
        )
        if state.step == 0:
            self._save(rng)

    def _report(self, reports: list[StepReport], seconds: float) -> None:
        """Write down the means over the steps since the last time, and over the processes."""
        means = mean_report(reports, self.processes.average)
        parts = self.setup.stopwatch.read()
        per_step = self.processes.average([x / len(reports) for x in parts.values()])
        core_seconds = dict(zip(parts, (x * self.processes.count for x in per_step), strict=True))
        on_processor = self.processes.device.type == "cpu"
        state = self.state
        row = TrainRecord(
            step=state.step,
            epoch=state.step / self.per_epoch,
            progress=state.step / self.stop,
            stage=self._stage(),
            time=time.time(),
            steps=len(reports),
            seconds_per_step=seconds / len(reports),
            core_seconds=core_seconds if on_processor else {},
            images_per_core_second=self.config.train.batch_size / sum(core_seconds.values())
            if on_processor
            else None,
            **means.model_dump(),
        )
        self._record(row)

    def _validation_is_due(self) -> bool:
        """Not in the warm-up, in which G stands still; at the very end always."""
        if self.state.step == self.stop:
            return True
        every = self.config.train.validate_every * self.per_epoch
        return self._stage() is not Stage.WARMUP and self.state.step % every == 0

    def _validate(self, rng: list[dict[str, torch.Tensor]]) -> bool:
        """Score the moving average, keep it if it is the best; whether to stop early."""
        assert self.validator is not None
        state, stage = self.state, self._stage()
        validation = self.validator.judge(state.ema)
        before = state.standing
        early_stopping = self.config.train.early_stopping
        delta = 0.0 if early_stopping is None else early_stopping.delta
        merit = validation.merit(self.config.validation.metric)
        state.standing = before.after(merit, stage, delta)
        best = state.standing.best > before.best or before.stage != stage
        self._record(
            ValidationRecord(
                step=state.step,
                epoch=state.step / self.per_epoch,
                stage=stage,
                time=time.time(),
                best=best,
                **validation.scores,
            )
        )
        self.folder.write_samples(state.step, validation.samples)
        if best:
            write_checkpoint(self._checkpoint(rng), self.folder.best(stage))
        return self._out_of_patience()

    def _out_of_patience(self) -> bool:
        early_stopping, standing = self.config.train.early_stopping, self.state.standing
        if early_stopping is None or standing.stage != Stage.JOINT:
            return False
        return standing.waited >= early_stopping.patience

    def _save(self, rng: list[dict[str, torch.Tensor]]) -> None:
        if self.processes.first:
            self.folder.save(self._checkpoint(rng), self.config.train.keep_last)

    def _checkpoint(self, rng: list[dict[str, torch.Tensor]]) -> TrainingCheckpoint:
        return self.state.checkpoint(self.config, self.per_epoch, rng)

    def _stage(self) -> Stage:
        """Of the step done last."""
        return stage_at(self.state.step - 1, self.per_epoch, self.config.train)

    def _record(self, row: Record) -> None:
        """Write a row to file, curves and log, and what the health rules have to say of it."""
        if not self.processes.first:
            return
        self.folder.write(row)
        log.info("%s", row)
        if isinstance(row, TrainRecord | ValidationRecord):
            for trouble in self.watch.see(row):
                self.folder.write(trouble)
                log.warning("%s", trouble)

    def _explain(self, error: NonFiniteGradientError, reports: list[StepReport]) -> str:
        train = self.config.train
        before = f"; the step before: {reports[-1]}" if reports else ""
        cure = "lower learning rates (--set train.lr_g=…, train.lr_d=…)"
        if train.precision != "fp32":
            cure += f", or train.precision=fp32 instead of {train.precision}"
        stage = stage_at(self.state.step, self.per_epoch, train)
        return (
            f"step {self.state.step}, {stage} stage: "
            f"{error}{before}. {self.folder.last} is from before: --resume from it, or from an "
            f"earlier file of checkpoints/, with {cure}"
        )
