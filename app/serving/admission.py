"""Who is let in, given who is in already."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.deadline import Deadline
from app.errors import Overloaded, QueueFull
from app.pace import Pace
from app.serving.line import Line

_SHARE = 0.6  # of a deadline that the work before a request may take: costs are averages
_SHARE_AT_FIRST = 0.4  # while the pace is known from the start alone, which nobody else shared
_KNOWN_AFTER = 10  # requests
_TYPICAL_PIXELS, _TYPICAL_BYTES = 1_000_000, 200_000  # of a photo, until some have been seen
_GRACE_S = 2.0  # before a body is judged by how fast it comes


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


class Admission:
    """Counts requests, bytes of uploads, and work.  For the event loop alone: no locks.

    A request is *at work* from when its photo's size is known until the first byte of its answer,
    its time in the line included.  Its cost is estimated from that size (:class:`Cost`), and
    ``ahead`` is the cost of all that are at work; ``pace`` is how many seconds the service really
    takes for a second of estimated cost, learned from each request whatever the bottleneck is.
    Where fewer than ``parallel`` are at work, some cores idle.  Whoever could not be done in time
    is refused at once, so that those who are let in keep their deadline, however many come.

    A request whose body is complete, but whose size in pixels is not known yet, is *coming*.  Its
    cost, estimated from its length, counts against newcomers, and against those whose bodies are
    complete after it: a crowd that comes at one moment would otherwise be let in as a whole, for
    none of it is at work yet.  Bodies that are not complete count as nothing, however many there
    are: whoever opens connections and sends nothing more must not keep others out.
    """

    def __init__(self, line: Line, max_requests: int, max_bytes: int, parallel: int) -> None:
        self.line = line
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.parallel = parallel
        self.requests = 0
        self.bytes = 0
        self.working = 0
        self.ahead = 0.0
        self.pace = Pace(1.0)
        self._uploads: set[Visit] = set()
        self._coming: set[Visit] = set()
        self.begin(Cost())

    def begin(self, cost: Cost) -> None:
        """Estimate by ``cost`` from now on."""
        self.cost = cost
        self._typical = Pace(cost.of(_TYPICAL_PIXELS))
        self._per_byte = Pace(self._typical.seconds / _TYPICAL_BYTES)

    @property
    def seconds_per_request(self) -> float:
        """What a typical request takes of the whole service's time."""
        return self.pace.seconds * self._typical.seconds

    @property
    def backlog_seconds(self) -> float:
        """In how many seconds all that are at work or coming will be done."""
        return self.pace.seconds * (self.ahead + _cost(self._coming))

    @contextmanager
    def visit(self, declared: int, deadline: Deadline) -> Iterator[Visit]:
        """Let a request in before the first byte of its body, and count it out whatever happens.

        ``declared`` is the length of the body, 0 where it is unknown.  Raises Overloaded and
        QueueFull.
        """
        if self.requests >= self.max_requests:
            raise Overloaded("Too many requests are in flight.", self._retry_after())
        self._check_time(self._cost_by_length(declared), deadline, self._coming)
        self._reserve(declared)
        visit = Visit(self, declared, deadline)
        self.requests += 1
        self._uploads.add(visit)
        try:
            yield visit
        finally:
            visit.finish(served=False)
            self.requests -= 1

    def _cost_by_length(self, declared: int) -> float:
        """Before its size in pixels is known: not more than is typical, less for a small file."""
        typical = self._typical.seconds
        return min(typical, self._per_byte.seconds * declared) if declared else typical

    def _learn(self, cost: float, size: int) -> None:
        """A photo of ``size`` bytes has turned out to have this cost."""
        self._typical.note(cost)
        self._per_byte.note(cost / max(size, 1))

    def _check_time(self, cost: float, deadline: Deadline, coming: Collection[Visit] = ()) -> None:
        """Raises QueueFull or Overloaded where work of this ``cost`` is not to be added.

        ``coming`` are those that will be at work before it.
        """
        if self.line.is_full:
            raise QueueFull("Too many requests are waiting; try again.", self._retry_after())
        expected = self.pace.seconds * (self.ahead + _cost(coming) + cost)
        is_known = self.pace.seen > _KNOWN_AFTER
        allowed = (_SHARE if is_known else _SHARE_AT_FIRST) * deadline.remaining
        if self.working + len(coming) >= self.parallel and expected > allowed:
            raise Overloaded(
                "More is waiting than can be done in time.", self._retry_after(expected - allowed)
            )

    def _retry_after(self, room: float = 0.0) -> float:
        """Seconds: some moment between the first room, in ``room`` seconds, and the backlog's end.

        Room comes a request at a time until then; spread over it, those who were refused together
        do not come back together.
        """
        room = max(room, self.seconds_per_request)
        return random.uniform(room, max(room, self.backlog_seconds))

    def _reserve(self, size: int) -> None:
        """Count bytes of an upload.  Raises Overloaded where they do not fit."""
        if self.bytes + size > self.max_bytes:
            for visit in self._uploads:
                visit.give_back_if_late()
        if self.bytes + size > self.max_bytes:
            raise Overloaded("Too many bytes are in flight.", self._retry_after())
        self.bytes += size


class Visit:
    """One request that has been let in.

    The bytes that it declared are kept for it, so that it is not refused halfway, as long as they
    come fast enough to be complete by its deadline; others hold no more than has come.
    """

    def __init__(self, admission: Admission, declared: int, deadline: Deadline) -> None:
        self.deadline = deadline
        self.cost = 0.0
        """Estimated from its length once the body is complete, then from its pixels."""
        self.since = time.monotonic()
        self.completed = self.began = time.perf_counter()
        """When its body was complete; until then, when its headers were."""
        self._admission = admission
        self._declared = declared
        self._held = declared
        self._received = 0
        self._joined: float | None = None
        self._before = 0.0

    @property
    def upload_seconds(self) -> float:
        """How long the body took to come."""
        return self.completed - self.began

    def receive(self, size: int) -> None:
        """Count bytes of the body.  Raises Overloaded where more come than are kept for it."""
        self._received += size
        if (more := self._received - self._held) > 0:
            self._admission._reserve(more)
            self._held += more

    def give_back_if_late(self) -> None:
        """Keep no more than has come, if the rest cannot come in time."""
        elapsed = time.monotonic() - self.since
        rest = self._declared - self._received
        if elapsed > _GRACE_S and self._received / elapsed * self.deadline.remaining < rest:
            self._release(self._held - self._received)

    def complete(self) -> None:
        """The body is complete.  Raises Overloaded and QueueFull."""
        admission = self._admission
        self.completed = time.perf_counter()
        admission._uploads.discard(self)
        self.cost = admission._cost_by_length(self._received)
        admission._check_time(self.cost, self.deadline, admission._coming)
        admission._coming.add(self)

    def join(self, pixels: int, scale: int = 1) -> None:
        """Be at work on a photo that will have so many pixels, enlarged by ``scale``.

        Raises Overloaded and QueueFull.
        """
        admission = self._admission
        self.cost = admission.cost.of(pixels, scale)
        admission._coming.discard(self)
        admission._learn(self.cost, self._received)
        admission._check_time(self.cost, self.deadline)
        self._before = admission.ahead
        admission.ahead += self.cost
        admission.working += 1
        self._joined = time.monotonic()

    def finish(self, *, served: bool) -> None:
        """The answer begins, or the request is given up; only the first call counts.

        Work that was refused or given up took less than it would have: it teaches the pace only
        where it took longer than expected.  Else whoever sends text instead of pictures would open
        the gate for all.
        """
        admission = self._admission
        admission._uploads.discard(self)
        admission._coming.discard(self)
        self._release(self._held)
        if self._joined is None:
            return
        estimated = max(self._before + self.cost, admission.parallel * self.cost)
        if estimated > 0:
            seconds = (time.monotonic() - self._joined) / estimated
            if served or seconds > admission.pace.seconds:
                admission.pace.note(seconds)
        admission.working -= 1
        admission.ahead = admission.ahead - self.cost if admission.working else 0.0
        self._joined = None

    def _release(self, size: int) -> None:
        self._admission.bytes -= size
        self._held -= size


def _cost(visits: Iterable[Visit]) -> float:
    return sum(visit.cost for visit in visits)
