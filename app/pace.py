"""How long things take, learned as they are done."""

from __future__ import annotations

_WEIGHT = 0.1  # of the newest: the last twenty or so count


class Pace:
    """Seconds a piece of work takes: a moving average, from a first guess on."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def note(self, seconds: float) -> None:
        self.seconds += _WEIGHT * (seconds - self.seconds)
