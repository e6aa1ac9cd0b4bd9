"""So many pixels at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelGate:
    """The counterpart of :class:`app.serving.line.Line` for threads.  Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Within, a photo is in memory; over the limit by itself, it is there alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self.limit)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()
