"""How long things take: measured at the start, and learned as they are done."""

from __future__ import annotations

_WEIGHT = 0.1  # of the newest: the last twenty or so count


class Pace:
    """Seconds a piece of work takes: a moving average, in which a first guess counts as one."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.seen = 1
        """Pieces of work, the first guess included."""

    def note(self, seconds: float) -> None:
        self.seen += 1
        self.seconds += max(_WEIGHT, 1 / self.seen) * (seconds - self.seconds)
