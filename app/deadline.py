"""The time until which a request must be finished."""

from __future__ import annotations

import math
import time

from app.errors import DeadlineExceeded


class Deadline:
    """``seconds`` from now, or the moment at which the client disconnects.

    Threads that work for the request call :meth:`check` before each expensive step.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds, at least 0."""
        return max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._at

    def end(self) -> None:
        """Let the deadline pass now, because nobody waits any more."""
        self._at = -math.inf

    def check(self) -> None:
        """Raise DeadlineExceeded if it has passed."""
        if self.passed:
            raise self.error()

    def error(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"Not done within {self.seconds:g} s.")


NEVER = Deadline(math.inf)
"""For work without a deadline, such as that of the command line."""
