"""Numbers for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Seconds; all 0 where nothing was counted."""

    count: int
    p50: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        if not seconds:
            return cls(0, *[0.0] * 4)
        return cls(len(seconds), *np.percentile(seconds, [50, 95, 99, 100]).round(4).tolist())

    def __str__(self) -> str:
        if not self.count:
            return "none"
        values = ((self.p50, "p50"), (self.p95, "p95"), (self.p99, "p99"), (self.most, "max"))
        return ", ".join(f"{name} {1000 * value:.0f}" for value, name in values) + " ms"


def counted(labels: Iterable[str]) -> dict[str, int]:
    """How often each occurs, the most frequent first."""
    return dict(Counter(labels).most_common())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def megabytes(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} MB"
