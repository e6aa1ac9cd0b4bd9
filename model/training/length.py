"""The length of a training stage, in epochs, steps or images."""

from __future__ import annotations

from typing import NamedTuple


class Length(NamedTuple):
    """A number of epochs, of steps or of images; if none is set, the stage does not exist."""

    epochs: float | None = None
    steps: int | None = None
    images: int | None = None

    @property
    def given(self) -> list[str]:
        """The units that are set; a valid configuration sets at most one."""
        return [unit for unit, value in self._asdict().items() if value is not None]

    def in_steps(self, per_epoch: int, batch_size: int) -> int:
        """The length in steps, given the steps of an epoch and the images of a step."""
        if self.epochs is not None:
            return round(self.epochs * per_epoch)
        if self.images is not None:
            return round(self.images / batch_size)
        return self.steps or 0
