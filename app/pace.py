"""A moving average of how long a kind of work takes."""

from __future__ import annotations

_WEIGHT = 0.1  # of the newest value, so that about the last twenty count


class Pace:
    """The average seconds of a piece of work; a first estimate counts as one value."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.seen = 1
        """How many values, including the first estimate."""

    def note(self, seconds: float) -> None:
        self.seen += 1
        self.seconds += max(_WEIGHT, 1 / self.seen) * (seconds - self.seconds)
