"""The folder of a run: what it holds, and how it is written and gone on with.

* ``config.yaml``: every setting; ``metrics.jsonl``: rows of ``model.training.records``
* ``checkpoints/``: the last few, by step; ``last.pt`` leads to the newest
* ``best.pt``: the checkpoint of the best validation since G met D; ``best-content.pt``: before
* ``samples/``: LQ | restored | HQ, at every validation; ``tensorboard/``: all of it, as curves
"""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from model.evaluation.grid import Levels, save_picture
from model.training.config import Config
from model.training.config_file import save_config
from model.training.records import (
    HealthRecord,
    Record,
    TrainRecord,
    ValidationRecord,
    append_record,
    read_records,
    rewrite_records,
)
from model.training.schedule import Stage
from model.training.state import TrainingCheckpoint, write_checkpoint


class RunFolder:
    """Of one run.  Every method raises OSError where the disk is full or the folder is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "last.pt"
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self._checkpoints = path / "checkpoints"
        self._samples = path / "samples"
        self._curves: SummaryWriter | None = None

    def best(self, stage: Stage) -> Path:
        """The checkpoint of a stage's best validation."""
        return self.path / ("best-content.pt" if stage is Stage.CONTENT else "best.pt")

    def open(self, config: Config, step: int) -> list[Record]:
        """Begin, or go on after ``step`` steps; returns the rows of so far.

        What a run has written after the checkpoint that it goes on from is taken back.
        """
        for folder in (self._checkpoints, self._samples):
            folder.mkdir(parents=True, exist_ok=True)
        save_config(config, self.config)
        rows = read_records(self.metrics) if self.metrics.exists() else []
        kept = [row for row in rows if row.step <= step]
        if len(kept) < len(rows):
            rewrite_records(self.metrics, kept)
        self._curves = SummaryWriter(str(self.path / "tensorboard"), purge_step=step + 1)
        return kept

    def close(self) -> None:
        if self._curves is not None:
            self._curves.close()

    def write(self, row: Record) -> None:
        """Add a row, and its numbers to the curves."""
        append_record(self.metrics, row)
        if self._curves is None:
            return
        if isinstance(row, HealthRecord):
            self._curves.add_text(f"health/{row.rule}", row.message, row.step)
        elif isinstance(row, TrainRecord):
            for name, value in row.numbers().items():
                self._curves.add_scalar(f"train/{name}", value, row.step)
            for name, value in row.weights.items():
                self._curves.add_scalar(f"weights/{name}", value, row.step)
            self._curves.add_scalar("train/seconds_per_step", row.seconds_per_step, row.step)
        elif isinstance(row, ValidationRecord):
            for name, value in row.scores().items():
                self._curves.add_scalar(f"validation/{name}", value, row.step)

    def write_samples(self, step: int, grid: Levels) -> None:
        """Keep a grid of samples (H, W, 3), as a picture and beside the curves."""
        save_picture(self._samples / f"{step:07d}.png", grid)
        if self._curves is not None:
            self._curves.add_image("samples", grid, step, dataformats="HWC")

    def save(self, checkpoint: TrainingCheckpoint, keep: int) -> None:
        """Write the newest checkpoint, and remove all but the ``keep`` newest."""
        target = self._checkpoints / f"{checkpoint.step:07d}.pt"
        write_checkpoint(checkpoint, target)
        link = self.path / "last.tmp"
        link.unlink(missing_ok=True)
        link.symlink_to(target.relative_to(self.path))
        link.replace(self.last)
        # by time: after going back to an earlier checkpoint, the highest number is not the newest
        kept = sorted(self._checkpoints.glob("*.pt"), key=lambda path: path.stat().st_mtime_ns)
        for old in kept[:-keep]:
            old.unlink()
