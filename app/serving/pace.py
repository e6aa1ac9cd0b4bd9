"""How long things take: measured at the start, and learned as they are done."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Cost:
    """What a request takes of the whole service's time, in seconds, by the size of its photo."""

    photo: float = 0.0
    """Of any photo: restoring a face."""
    megapixel: float = 0.0
    """For each megapixel of the output: decoding, pasting, encoding."""
    searched: float = 0.0
    """For each megapixel of the photo: detecting faces."""
    most_searched: float = math.inf
    """Megapixels: larger photos are made smaller before their faces are detected."""

    def of(self, pixels: int, scale: int = 1) -> float:
        """``pixels`` are the output's, which is ``scale`` times as wide as the photo."""
        megapixels = pixels / 1e6
        searched = min(megapixels / scale**2, self.most_searched)
        return self.photo + self.megapixel * megapixels + self.searched * searched
