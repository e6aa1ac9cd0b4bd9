"""Where a step's processor time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Processor time of this process by part, all its threads together, in core-seconds.

    Loader workers are other processes and not counted; nor is what a GPU does.
    """

    def __init__(self) -> None:
        self._parts: defaultdict[str, float] = defaultdict(float)
        self._started = time.process_time()
        self.waited = 0.0
        """Seconds since the last reading in which :meth:`each` waited for items."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Within, time belongs to this part; parts do not nest."""
        started = time.process_time()
        try:
            yield
        finally:
            self._parts[name] += time.process_time() - started

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items; the time that it takes to get one belongs to this part, and is waited."""
        iterator = iter(items)
        while True:
            started = time.perf_counter()
            with self.part(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            self.waited += time.perf_counter() - started
            yield item

    def read(self) -> dict[str, float]:
        """Core-seconds since the last reading, by part; ``other`` is what belongs to none."""
        now = time.process_time()
        parts = dict(self._parts)
        parts["other"] = now - self._started - sum(parts.values())
        self._parts.clear()
        self._started = now
        self.waited = 0.0
        return parts
