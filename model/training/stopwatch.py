"""Measures which parts of a step take how much processor time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Processor time of this process by part, over all of its threads, in core-seconds.

    The time of loader workers, which are other processes, and of a GPU is not counted.
    """

    def __init__(self) -> None:
        self._parts: defaultdict[str, float] = defaultdict(float)
        self._started = time.process_time()
        self.waited = 0.0
        """Seconds that :meth:`each` has waited for items since the last :meth:`read`."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """In this context, time counts for this part; parts do not nest."""
        started = time.process_time()
        try:
            yield
        finally:
            self._parts[name] += time.process_time() - started

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items; the time to get one counts for this part, and as time waited."""
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
        """Core-seconds since the last call, by part; ``other`` is time outside of all parts."""
        now = time.process_time()
        parts = dict(self._parts)
        parts["other"] = now - self._started - sum(parts.values())
        self._parts.clear()
        self._started = now
        self.waited = 0.0
        return parts
