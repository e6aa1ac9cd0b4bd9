"""Reports of a run while it trains: rows for files and curves, and lines of the log."""

from __future__ import annotations

import logging
import time

from model.training.config import Config
from model.training.health import Watch
from model.training.memory import peak_gpu_memory
from model.training.processes import Processes
from model.training.records import Record, StepReport, TrainRecord, ValidationRecord, mean_report
from model.training.run_folder import RunFolder
from model.training.schedule import Stage
from model.training.steps import Setup

log = logging.getLogger(__name__)


class Journal:
    """The reports of one run.  It exists in all processes, and the first one writes."""

    def __init__(
        self, config: Config, setup: Setup, processes: Processes, folder: RunFolder
    ) -> None:
        self._config, self._setup = config, setup
        self._processes, self._folder = processes, folder
        self._watch = Watch.after(config.train, [])
        self.seconds: dict[Stage, float] = {}
        """Seconds per step of each stage, as far as they are known."""

    def restore(self, rows: list[Record]) -> None:
        """Continue after the rows that a run has already written."""
        self._watch = Watch.after(self._config.train, rows)

    def report(self, step: int, reports: list[StepReport], seconds: float, skipped: int) -> None:
        """Write the means over the steps since the last report, and over the processes.

        ``step`` is the number of steps done, ``seconds`` the time of all steps in ``reports``.
        """
        setup, processes, batch_size = self._setup, self._processes, self._config.train.batch_size
        means = mean_report(reports, processes.average)
        (waited,) = processes.average([setup.stopwatch.waited / len(reports)])
        parts = setup.stopwatch.read()
        per_step = processes.average([x / len(reports) for x in parts.values()])
        core_seconds = dict(zip(parts, (x * processes.count for x in per_step), strict=True))
        on_processor = processes.device.type == "cpu"
        plan, stage = setup.plan, setup.plan.stage_at(step - 1)
        left = plan.left(step)
        self.seconds[stage] = seconds / len(reports)
        self.record(
            TrainRecord(
                step=step,
                epoch=step / setup.per_epoch,
                progress=step / plan.total,
                stage=stage,
                time=time.time(),
                steps=len(reports),
                seconds_per_step=self.seconds[stage],
                total_steps=plan.total,
                stage_left=left.get(stage, 0),
                seconds_left=sum(self.seconds[each] * steps for each, steps in left.items()),
                images_per_second=batch_size / self.seconds[stage],
                seconds_waiting=waited,
                gpu_memory=peak_gpu_memory(processes.device),
                skipped=skipped,
                core_seconds=core_seconds if on_processor else {},
                images_per_core_second=batch_size / sum(core_seconds.values())
                if on_processor
                else None,
                **means.model_dump(),
            )
        )

    def record(self, row: Record) -> None:
        """Write a row, and any health warnings that follow from it, to file, curves and log."""
        if not self._processes.first:
            return
        self._folder.write(row)
        log.info("%s", row)
        if isinstance(row, TrainRecord | ValidationRecord):
            for warning in self._watch.see(row):
                self._folder.write(warning)
                log.warning("%s", warning)
