"""The line in which requests wait for their turn."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class _Waiting:
    pixels: int
    turn: asyncio.Future[Turn]


class Line:
    """Requests with complete bodies, in order of arrival.  No photo is decoded before its turn.

    The first in line gets its turn when

    - one of the ``readers`` is free, the threads that decode photos and detect their faces,
    - fewer than ``at_once`` photos are in progress, including those that wait for the generator,
    - its pixels and those in progress are at most ``most_pixels`` together.  A photo that exceeds
      the limit by itself gets its turn when it is the only one.

    The order never changes: while a large photo waits for room, the others wait behind it, so that
    the large one is not starved.  To be used on the event loop only; there are no locks.

    ``limit`` is how many requests may wait, which admission enforces.  ``on_wait`` is called with
    the seconds that a request waited when it gets its turn or gives up.
    """

    def __init__(
        self,
        limit: int,
        most_pixels: int,
        readers: int,
        at_once: int,
        on_wait: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self.limit = limit
        self.most_pixels = most_pixels
        self.readers = readers
        self.at_once = at_once
        self.pixels = 0
        self.reading = 0
        self.working = 0
        self._on_wait = on_wait
        self._waiting: deque[_Waiting] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether one more request could neither wait nor have its turn immediately."""
        free = min(self.readers - self.reading, self.at_once - self.working)
        return len(self._waiting) >= self.limit + max(0, free)

    async def turn(self, pixels: int) -> Turn:
        """Wait for a turn with a photo of this many pixels.

        The caller must call :meth:`Turn.read` and :meth:`Turn.end`.
        """
        waiting = _Waiting(pixels, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        start = time.perf_counter()
        self._advance()
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            if not waiting.turn.cancelled():  # the turn came at the same moment
                waiting.turn.result().end()
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
                self._advance()  # it may have held up the others
            raise
        finally:
            self._on_wait(time.perf_counter() - start)

    def _advance(self) -> None:
        while self._waiting and self._has_room(self._waiting[0].pixels):
            waiting = self._waiting.popleft()
            if not waiting.turn.cancelled():
                waiting.turn.set_result(Turn(self, waiting.pixels))

    def _has_room(self, pixels: int) -> bool:
        return (
            self.reading < self.readers
            and self.working < self.at_once
            and (not self.working or self.pixels + pixels <= self.most_pixels)
        )


class Turn:
    """The right to work on a photo, from decoding it to releasing its memory."""

    def __init__(self, line: Line, pixels: int) -> None:
        self._line = line
        self._pixels = pixels
        self._reads = self._works = True
        line.reading += 1
        line.working += 1
        line.pixels += pixels

    def read(self) -> None:
        """Its faces are found, so the next photo may be read.  Further calls do nothing."""
        if self._reads:
            self._reads = False
            self._line.reading -= 1
            self._line._advance()

    def end(self) -> None:
        """The photo is no longer in memory.  Further calls do nothing."""
        if self._works:
            self._works = False
            self._line.working -= 1
            self._line.pixels -= self._pixels
            self.read()
            self._line._advance()
