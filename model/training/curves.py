"""Curves and pictures of a run, for TensorBoard and, if configured, Weights & Biases."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from model.evaluation.grid import Levels
from model.training.config import Config
from model.training.config_file import flatten
from model.training.records import HealthRecord, Record, TrainRecord, ValidationRecord


class Curves:
    """The curves of a run; a resumed run continues them from ``step``.

    Methods raise OSError if the disk is full, and can be called again.
    """

    def __init__(self, folder: Path, config: Config, step: int) -> None:
        """Raises OSError, and ModuleNotFoundError that says what to install."""
        self._folder = folder
        self._board: TensorBoardTracker | None = self._open_board(step + 1)
        self._online: WandBTracker | None = None
        if project := config.train.wandb_project:
            if importlib.util.find_spec("wandb") is None:
                raise ModuleNotFoundError("train.wandb_project needs wandb: pip install wandb")
            self._online = WandBTracker(
                project, id=_run_id(folder), resume="allow", name=folder.name, dir=str(folder)
            )
            self._online.start()
            self._online.store_init_configuration(flatten(config))

    def show(self, row: Record) -> None:
        """Add the numbers of a row to the curves; warnings of health rules become texts."""
        values: dict[str, float | str] = {}
        if isinstance(row, HealthRecord):
            values[f"health/{row.rule}"] = row.message
        elif isinstance(row, TrainRecord):
            values |= {f"train/{name}": value for name, value in row.numbers().items()}
            values |= {f"train/{name}": value for name, value in row.speed().items()}
            values |= {f"weights/{name}": value for name, value in row.weights.items()}
        elif isinstance(row, ValidationRecord):
            values |= {f"validation/{name}": value for name, value in row.scores().items()}
        if values:
            self._each(lambda tracker: tracker.log(values, step=row.step), row.step)

    def show_samples(self, step: int, grid: Levels) -> None:
        """Show a grid of samples (H, W, 3)."""
        pictures = torch.from_numpy(grid).permute(2, 0, 1)[None] / 255
        self._each(lambda tracker: tracker.log_images({"samples": pictures}, step=step), step)

    def close(self) -> None:
        for tracker in (self._online, self._board):
            if tracker is not None:
                tracker.finish()

    def _each(self, show: Callable[[GeneralTracker], None], step: int) -> None:
        if self._online is not None:
            show(self._online)
        self._board = self._board or self._open_board(step)
        try:
            show(self._board)
            self._board.writer.flush()  # so that an error is raised here and not by the next call
        except OSError:
            # its thread ended with the first error and would raise it forever
            with suppress(OSError):
                self._board.finish()
            self._board = None
            raise

    def _open_board(self, purge_step: int) -> TensorBoardTracker:
        board = TensorBoardTracker("tensorboard", self._folder, purge_step=purge_step)
        board.start()
        return board


def _run_id(folder: Path) -> str:
    """The identifier of the run in Weights & Biases, which is kept when it is resumed."""
    file = folder / "wandb-id.txt"
    if not file.exists():
        file.write_text(secrets.token_hex(8))
    return file.read_text()
