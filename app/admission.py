"""The first gate's judgement: who comes in, given who is in already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.deadline import Deadline
from app.errors import Overloaded
from app.pace import Pace

_SHARE = 0.6  # of a deadline that the work before a request may take: the pace is an average


class Admission:
    """Counts requests, bytes of bodies, and requests at work.  For the event loop alone: no locks.

    A request is *at work* from the last byte of its body to the first of its answer.  With n at
    work before it, it takes about n + 1 paces; so the pace is learned as the time at work divided
    by n + 1, whatever the bottleneck is, or by ``parallel``, as many as work side by side, if that
    is more.  Who could not be done in time is refused at once: those who are let in keep their
    deadline, however many come.  Bodies that never end hold no more than their bytes.
    """

    def __init__(self, max_requests: int, max_bytes: int, pace: Pace, parallel: int) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.pace = pace
        self.parallel = parallel
        self.requests = 0
        self.bytes = 0
        self.working = 0

    def check(self, declared: int, deadline: Deadline) -> None:
        """Before the first byte of a body of ``declared`` bytes (0: unknown).

        Raises Overloaded.
        """
        if self.requests >= self.max_requests:
            raise Overloaded("Too many requests are in flight.", self.pace.seconds)
        self.check_bytes(declared)
        self.check_pace(deadline)

    def check_bytes(self, more: int) -> None:
        """Raises Overloaded when ``more`` bytes do not fit."""
        if self.bytes + more > self.max_bytes:
            raise Overloaded("Too many bytes are in flight.", self.pace.seconds)

    def check_pace(self, deadline: Deadline) -> None:
        """Raises Overloaded when the work before a request leaves it too little time."""
        expected = (self.working + 1) * self.pace.seconds
        allowed = _SHARE * deadline.remaining
        if self.working >= self.parallel and expected > allowed:
            raise Overloaded("More is waiting than can be done in time.", expected - allowed)

    @contextmanager
    def visit(self) -> Iterator[Visit]:
        """Count a request in, and out whatever happens."""
        visit = Visit(self)
        self.requests += 1
        try:
            yield visit
        finally:
            visit.finish(served=False)
            self.requests -= 1
            self.bytes -= visit.bytes


class Visit:
    """One request that has come in."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._started: float | None = None
        self._before = 0
        self.bytes = 0

    def receive(self, size: int) -> None:
        """Count bytes of the body.  Raises Overloaded."""
        self._admission.check_bytes(size)
        self.hold(size)

    def hold(self, size: int) -> None:
        """Count bytes that are in memory, come what may."""
        self._admission.bytes += size
        self.bytes += size

    def start(self, deadline: Deadline) -> None:
        """The body is complete.  Raises Overloaded: others may have started meanwhile."""
        self._admission.check_pace(deadline)
        self._before = self._admission.working
        self._admission.working += 1
        self._started = time.monotonic()

    def finish(self, *, served: bool) -> None:
        """The work is over; only the first call counts.

        Work that was refused or given up took less than it would have: it teaches the pace only
        where it took longer than expected.  Else whoever sends text instead of pictures would open
        the gate for all.
        """
        if self._started is None:
            return
        side_by_side = max(self._before + 1, self._admission.parallel)
        seconds = (time.monotonic() - self._started) / side_by_side
        pace = self._admission.pace
        if served or seconds > pace.seconds:
            pace.note(seconds)
        self._admission.working -= 1
        self._started = None
