"""The folder of a run: its contents, and how they are written and resumed.

* ``config.yaml``: every setting; ``metrics.jsonl``: rows of ``model.training.records``
* ``holdout.txt``: the faces that are not trained on, in the form that ``model.evaluate --holdout``
  takes
* ``checkpoints/``: the last few, by step; ``last.pt`` is a link to the newest
* ``best.pt``: the checkpoint with the best validation of the joint stage; ``best-content.pt``: the
  same of the content stage
* ``samples/``: LQ | restored | HQ, at every validation; ``tensorboard/``: the same as curves

A full disk does not end a run.  What could not be written is logged as an error, and written when
there is room again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from model.evaluation.grid import Levels, save_picture
from model.training.config import Config
from model.training.config_file import save_config
from model.training.curves import Curves
from model.training.records import (
    EndRecord,
    Record,
    append_records,
    read_records,
    rewrite_records,
)
from model.training.schedule import Stage
from model.training.state import TrainingCheckpoint, write_checkpoint

log = logging.getLogger(__name__)


class RunFolder:
    """The folder of one run, written by one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "last.pt"
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self._checkpoints = path / "checkpoints"
        self._samples = path / "samples"
        self._curves: Curves | None = None
        self._unwritten: list[Record] = []

    def best(self, stage: Stage) -> Path:
        """The path of the checkpoint with the best validation of a stage."""
        return self.path / ("best-content.pt" if stage is Stage.CONTENT else "best.pt")

    def failed_at(self) -> int | None:
        """The step at which gradients that were not finite ended the run; None if none did.

        Raises OSError or ValueError.
        """
        rows = read_records(self.metrics) if self.metrics.exists() else []
        return (
            rows[-1].step if rows and isinstance(rows[-1], EndRecord) and rows[-1].failed else None
        )

    def open(self, config: Config, step: int, held_out: Sequence[Path] = ()) -> list[Record]:
        """Create the folder, or open it to continue after ``step`` steps; returns its rows so far.

        Rows from after the checkpoint that the run continues from are removed, and so are partial
        files of a killed run.  Raises OSError or ValueError.
        """
        for folder in (self._checkpoints, self._samples):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self._checkpoints):
            for stray in folder.glob("*.tmp"):
                stray.unlink()
        save_config(config, self.config)
        if held_out:
            lines = [f"{path.resolve()}\n" for path in held_out]
            (self.path / "holdout.txt").write_text("".join(lines))
        rows = read_records(self.metrics) if self.metrics.exists() else []
        valid = [row for row in rows if row.step <= step]
        if len(valid) < len(rows):
            rewrite_records(self.metrics, valid)
        self._curves = Curves(self.path, config, step)
        return valid

    def close(self) -> None:
        with self._training_continues():
            self._write_rows()
        if self._curves is not None:
            with self._training_continues():
                self._curves.close()

    def write(self, row: Record) -> None:
        """Append a row, and add its numbers to the curves."""
        self._unwritten.append(row)
        with self._training_continues():
            self._write_rows()
        if self._curves is not None:
            with self._training_continues():
                self._curves.show(row)

    def write_samples(self, step: int, grid: Levels) -> None:
        """Save a grid of samples (H, W, 3) as a picture, and show it beside the curves."""
        with self._training_continues():
            save_picture(self._samples / f"{step:07d}.png", grid)
        if self._curves is not None:
            with self._training_continues():
                self._curves.show_samples(step, grid)

    def write_best(self, checkpoint: TrainingCheckpoint, stage: Stage) -> bool:
        """Write the best checkpoint of a stage; returns whether that was possible."""
        with self._training_continues():
            write_checkpoint(checkpoint, self.best(stage))
            return True
        return False

    def save(self, checkpoint: TrainingCheckpoint, keep: int) -> None:
        """Write a checkpoint, and remove all but the ``keep`` newest.  Raises OSError."""
        target = self._checkpoints / f"{checkpoint.step:07d}.pt"
        write_checkpoint(checkpoint, target)
        link = self.path / "last.tmp"
        link.unlink(missing_ok=True)
        link.symlink_to(target.relative_to(self.path))
        link.replace(self.last)
        # by time: after going back to an earlier checkpoint, the highest number is not the newest
        written = sorted(self._checkpoints.glob("*.pt"), key=lambda path: path.stat().st_mtime_ns)
        for old in written[:-keep]:
            old.unlink()

    def try_to_save(self, checkpoint: TrainingCheckpoint, keep: int) -> bool:
        """Like :meth:`save`, but logs an OSError and returns whether saving was possible."""
        with self._training_continues():
            self.save(checkpoint, keep)
            return True
        return False

    def _write_rows(self) -> None:
        if self._unwritten:
            append_records(self.metrics, self._unwritten)
            self._unwritten.clear()

    @contextmanager
    def _training_continues(self) -> Iterator[None]:
        """In this context, an OSError is logged and ends only the block."""
        try:
            yield
        except OSError as error:
            log.error("error: %s; training continues", error)  # noqa: TRY400
