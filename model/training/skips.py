"""Counts steps that were skipped because a gradient was not finite; too many end the run."""

from __future__ import annotations

from collections import deque

_COUNTED = 100
"""Number of recent steps that are considered."""


class Skips:
    """The skipped steps of a run; ``allowed`` of any hundred steps may be skipped."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._recent: deque[bool] = deque(maxlen=_COUNTED)
        self._since_reading = 0

    @property
    def last(self) -> bool:
        """Whether the last step was skipped."""
        return bool(self._recent) and self._recent[-1]

    @property
    def too_many(self) -> bool:
        return sum(self._recent) > self._allowed

    def note(self, *, skipped: bool) -> None:
        """Count one more step."""
        self._recent.append(skipped)
        self._since_reading += skipped

    def read(self) -> int:
        """Steps skipped since the last call."""
        count, self._since_reading = self._since_reading, 0
        return count

    def __str__(self) -> str:
        return f"{sum(self._recent)} of the last {len(self._recent)} steps"
