"""Steps that are left out because a gradient was not finite: a few are, many end the run."""

from __future__ import annotations

from collections import deque

_COUNTED = 100
"""Steps among which those that were left out are counted."""


class Skips:
    """Counts them; of any hundred steps, ``allowed`` may be left out."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._recent: deque[bool] = deque(maxlen=_COUNTED)
        self._since_reading = 0

    @property
    def last(self) -> bool:
        """Whether the last step was left out."""
        return bool(self._recent) and self._recent[-1]

    @property
    def too_many(self) -> bool:
        return sum(self._recent) > self._allowed

    def note(self, *, left_out: bool) -> None:
        """Count one more step."""
        self._recent.append(left_out)
        self._since_reading += left_out

    def read(self) -> int:
        """Steps left out since the last reading."""
        count, self._since_reading = self._since_reading, 0
        return count

    def __str__(self) -> str:
        return f"{sum(self._recent)} of the last {len(self._recent)} steps"
