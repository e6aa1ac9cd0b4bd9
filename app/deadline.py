"""Until when somebody waits for a piece of work."""

from __future__ import annotations

import math
import time

from app.errors import DeadlineExceeded


class Deadline:
    """When a request must be done: ``seconds`` from now, or at once when its client has gone.

    Threads that work for the request ask it before each expensive step; see :meth:`check`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds; not less than 0."""
        return max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._at

    def end(self) -> None:
        """Nobody waits any more."""
        self._at = -math.inf

    def check(self) -> None:
        """Raises DeadlineExceeded when it has passed."""
        if self.passed:
            raise self.error()

    def error(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"Not done within {self.seconds:g} s.")


NEVER = Deadline(math.inf)
"""For work without a deadline: the command line, warming up."""
