"""The training loop: steps, and logging, validation and saving between them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from model.data.dataset import open_training_data
from model.data.sampling import batches_per_epoch
from model.training.config import Config
from model.training.doubts import doubts
from model.training.generator_losses import Judges
from model.training.journal import Journal
from model.training.loading import Batch, load_steps
from model.training.memory import peak_gpu_memory
from model.training.processes import Processes
from model.training.records import EndRecord, StartRecord, StepReport, ValidationRecord
from model.training.rehearsal import explained_memory, rehearse
from model.training.resume import refuse_other_run
from model.training.run_folder import RunFolder
from model.training.schedule import Stage, describe
from model.training.skips import Skips
from model.training.state import TrainingCheckpoint, TrainingState, read_checkpoint, rng_state
from model.training.steps import NonFiniteGradientError, Setup, training_step
from model.training.validation import Validator

log = logging.getLogger(__name__)

FINISHED, INTERRUPTED, STOPPED_EARLY = "finished", "interrupted", "stopped early"


class Trainer:
    """A run, in one of its processes; ``resume`` is a checkpoint to continue from.

    Raises OSError or ValueError for data, weights or settings that cannot be used.
    """

    def __init__(
        self, config: Config, output: Path, processes: Processes, resume: Path | None = None
    ) -> None:
        train = config.train
        self.config, self.processes = config, processes
        if train.threads is not None:
            torch.set_num_threads(train.threads)
        folder = config.data.folder
        if folder is not None and output.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{output} is inside {folder}: its samples would be trained on")
        self.folder = RunFolder(output)
        self.micro_batch = train.micro_batch(processes.count)
        self.dataset, validated, self.split = open_training_data(
            config.data, train.img_size, train.seed, validate=processes.first
        )
        assert config.data.folder is not None
        self.faces = self.split.fingerprint(config.data.folder)
        self.validator: Validator | None = None
        if processes.first:
            self.validator = Validator(validated, config, processes.device)
        if len(self.dataset) < train.batch_size and self.micro_batch < train.batch_size:
            raise ValueError(
                f"{len(self.dataset)} faces do not fill a batch of {train.batch_size}, "
                "which processes or accumulation must divide"
            )
        self.per_epoch = batches_per_epoch(len(self.dataset), train.batch_size)
        checkpoint = None if resume is None else read_checkpoint(resume)
        self.changed: dict[str, tuple[str, str]] = {}
        if checkpoint is not None:
            self.changed = refuse_other_run(checkpoint, config, self.faces, self.per_epoch)
            for name, (before, after) in self.changed.items():
                log.info("changed since the checkpoint: %s, %s -> %s", name, before, after)
        self.state = TrainingState.fresh(
            config, processes.device, initial_weights=checkpoint is None
        )
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
        self.plan = self.setup.plan
        self.journal = Journal(config, self.setup, processes, self.folder)
        self.skips = Skips(train.max_skipped)
        self._latest: StepReport | None = None
        self._unsaved = False
        if checkpoint is not None and resume is not None:
            self.state.restore(checkpoint, config, processes.index)
            self._skip_failed_step(resume)

    def _skip_failed_step(self, resumed: Path) -> None:
        """Continue after the step that ended the run, if nothing was changed to prevent it.

        A step is a function of weights and position.  A run that continues unchanged from its last
        checkpoint would fail at the same step, and a cluster would restart it forever.
        """
        (failed, *_) = self.processes.gather(
            self.folder.failed_at() if self.processes.first else None
        )
        newest = resumed.resolve() == self.folder.last.resolve()
        if failed is None or self.changed or not newest or failed < self.state.step:
            return
        log.warning(
            "warning: the run ended at step %d because gradients were not finite. It continues "
            "with the weights of step %d and the faces after that step; if it fails again, change "
            "its learning rates",
            *(failed, self.state.step),
        )
        self.state.step = min(failed + 1, self.plan.total - 1)

    def run(self, interrupted: Callable[[], bool]) -> str:
        """Train to the end, or until there is a reason to stop; returns the reason.

        Raises OSError if the end of the run cannot be written, and OutOfMemoryError or
        NonFiniteGradientError, whose messages say what happened and what to change.
        """
        if self.state.step >= self.plan.total:
            return FINISHED
        if self._out_of_patience():
            return STOPPED_EARLY
        self._begin()
        try:
            with closing(self._batches()) as batches:
                reason = self._steps(batches, interrupted)
        except NonFiniteGradientError as error:
            self.journal.record(
                EndRecord(step=self.state.step, time=time.time(), reason=str(error), failed=True)
            )
            raise
        finally:
            self.folder.close()
        self.processes.wait()  # until the first process has written everything
        return reason

    def _batches(self) -> Generator[list[Batch]]:
        """Of this process, for every step that is left."""
        processes = self.processes
        return load_steps(
            self.dataset, self.config, self.state.step, self.plan.total, processes.device,
            processes.index, processes.count,
        )  # fmt: skip

    def _steps(self, batches: Iterator[list[Batch]], interrupted: Callable[[], bool]) -> str:
        train, state, processes = self.config.train, self.state, self.processes
        progress = tqdm(
            self.setup.stopwatch.each("data", batches),
            initial=state.step,
            total=self.plan.total,
            unit="step",
            dynamic_ncols=True,
            disable=None if processes.first else True,  # None: only on a terminal
        )
        reports: list[StepReport] = []
        started = time.monotonic()
        self.setup.stopwatch.read()
        for micro_batches in progress:
            try:
                with explained_memory(train, f"step {state.step}"):
                    reports.append(training_step(state, micro_batches, self.setup))
                self.skips.note(skipped=False)
                self._latest = reports[-1]
                progress.set_postfix(self._latest.shown())
            except NonFiniteGradientError as error:
                self._skip(error)
            epoch_ends = state.step % self.per_epoch == 0 or state.step == self.plan.total
            row_is_due = epoch_ends or state.step % train.log_every == 0
            if row_is_due and reports:
                seconds = time.monotonic() - started
                self.journal.report(state.step, reports, seconds, self.skips.read())
                reports.clear()
                started = time.monotonic()
            reason = FINISHED if state.step == self.plan.total else None
            # weights with gradients that are not finite may be useless: keep the last checkpoint
            sound = not self.skips.last or reason == FINISHED
            rng = None
            if epoch_ends and sound and self._validation_is_due():
                rng = processes.gather(rng_state())
                if processes.any(processes.first and self._validate(rng)):
                    reason = STOPPED_EARLY
                started = time.monotonic()
                self.setup.stopwatch.read()  # exclude the time of validation from that of steps
            if processes.any(interrupted()):
                reason = reason or INTERRUPTED
            due = reason or epoch_ends or state.step % train.save_every == 0
            if sound and (due or (row_is_due and processes.any(self._unsaved))):
                self._save(rng or processes.gather(rng_state()), must=reason is not None)
            if reason:
                self.journal.record(EndRecord(step=state.step, time=time.time(), reason=reason))
                return reason
        return FINISHED

    def _skip(self, error: NonFiniteGradientError) -> None:
        """Skip the step that failed.  Raises NonFiniteGradientError if there are too many."""
        self.skips.note(skipped=True)
        if self.skips.too_many:
            raise NonFiniteGradientError(self._explain(error)) from error
        log.warning("warning: step %d is skipped: %s", self.state.step, error)
        self.state.step += 1

    def _begin(self) -> None:
        """Try every stage, open the run's folder, and write the first checkpoint."""
        state, processes = self.state, self.processes
        for network in (state.generator, state.discriminator, state.ema):
            processes.copy_first(network)
        for doubt in doubts(self.config.train, self.plan, self.micro_batch):
            log.warning("warning: %s", doubt)
        # if the set is smaller than a batch, an epoch has one step with all of its faces
        self.journal.seconds = rehearse(state, self.setup, min(self.micro_batch, len(self.dataset)))
        if (peak := peak_gpu_memory(processes.device)) is not None:
            log.info("the heaviest step takes %.1f GiB of the GPU", peak)
        log.info(
            "%s",
            describe(
                self.plan,
                self.per_epoch,
                self.config.train.batch_size,
                self.journal.seconds,
                state.step,
            ),
        )
        rng = processes.gather(rng_state())
        if not processes.first:
            return
        self.journal.restore(self.folder.open(self.config, state.step, self.split.held_out))
        assert self.validator is not None
        degraded = self.validator.degraded()
        self.journal.record(
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
            self._save(rng, must=True)

    def _validation_is_due(self) -> bool:
        """Every few epochs, except in the warm-up, in which G is fixed; and always at the end."""
        if self.state.step == self.plan.total:
            return True
        every = self.config.train.validate_every * self.per_epoch
        return self._stage() is not Stage.WARMUP and self.state.step % every == 0

    def _validate(self, rng: list[dict[str, torch.Tensor]]) -> bool:
        """Score the moving average and keep it if it is the best; returns whether to stop early."""
        assert self.validator is not None
        state, stage = self.state, self._stage()
        validation = self.validator.judge(state.ema)
        before = state.standing
        early_stopping = self.config.train.early_stopping
        delta = 0.0 if early_stopping is None else early_stopping.delta
        merit = validation.merit(self.config.validation.metric)
        state.standing = before.after(merit, stage, delta)
        best = state.standing.best > before.best or before.stage != stage
        if best and not self.folder.write_best(self._checkpoint(rng), stage):
            state.standing = replace(state.standing, best=before.best)  # so the next is written
        self.journal.record(
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
        return self._out_of_patience()

    def _out_of_patience(self) -> bool:
        early_stopping, standing = self.config.train.early_stopping, self.state.standing
        if early_stopping is None or standing.stage != Stage.JOINT:
            return False
        return standing.waited >= early_stopping.patience

    def _save(self, rng: list[dict[str, torch.Tensor]], *, must: bool) -> None:
        """Write a checkpoint.  If that fails, raise OSError if it ``must`` be, or retry later."""
        if not self.processes.first:
            return
        checkpoint, keep = self._checkpoint(rng), self.config.train.keep_last
        if must:
            self.folder.save(checkpoint, keep)
        else:
            self._unsaved = not self.folder.try_to_save(checkpoint, keep)

    def _checkpoint(self, rng: list[dict[str, torch.Tensor]]) -> TrainingCheckpoint:
        return self.state.checkpoint(self.config, self.per_epoch, rng, self.faces)

    def _stage(self) -> Stage:
        """The stage of the last step."""
        return self.plan.stage_at(self.state.step - 1)

    def _explain(self, error: NonFiniteGradientError) -> str:
        train = self.config.train
        before = f"; the last good step: {self._latest}" if self._latest else ""
        cure = "lower learning rates (--set train.lr_g=…, train.lr_d=…)"
        if train.precision != "fp32":
            cure += f", or train.precision=fp32 instead of {train.precision}"
        return (
            f"step {self.state.step}, {self.plan.stage_at(self.state.step)} stage: {error}, in "
            f"{self.skips}{before}. {self.folder.last} was saved before that: --resume from it, or "
            f"from an earlier file in checkpoints/, with {cure}"
        )
