"""Decides which requests are accepted, given those that are in progress."""

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

_SHARE = 0.75  # of a request's deadline that may be planned, because costs are averages
_SHARE_AT_FIRST = 0.6  # while the pace is known only from the rehearsal, on an idle service
_KNOWN_AFTER = 10  # requests, from which on the pace is known
_TYPICAL_PIXELS, _TYPICAL_BYTES = 1_000_000, 200_000  # of a photo, until some have arrived
_GRACE_S = 2.0  # before the speed of an upload is judged


@dataclass(frozen=True)
class Cost:
    """How much of the whole service's time a request takes, in seconds, by its photo's size."""

    photo: float = 0.0
    """For any photo: restoring a face."""
    megapixel: float = 0.0
    """For each megapixel of the output: decoding, pasting, encoding."""
    searched: float = 0.0
    """For each megapixel of the photo: detecting faces."""
    most_searched: float = math.inf
    """Megapixels; larger photos are reduced to this before their faces are detected."""

    def of(self, pixels: int, scale: int = 1) -> float:
        """The cost of an output of this many pixels, ``scale`` times as wide as its photo."""
        megapixels = pixels / 1e6
        searched = min(megapixels / scale**2, self.most_searched)
        return self.photo + self.megapixel * megapixels + self.searched * searched


class Admission:
    """Counts requests, bytes of uploads, and work.

    A request is *working* from when its photo's size is known until the first byte of its answer,
    which includes its time in line.  Its cost is estimated from that size (:class:`Cost`), and
    ``ahead`` is the cost of all working requests.  ``pace`` is how many seconds the service really
    takes for a second of estimated cost; it is learned from each request, whatever the bottleneck
    is.  While fewer than ``parallel`` are working, some cores are idle.  A request that could not
    be finished in time is refused immediately, so that accepted ones meet their deadlines whatever
    the load.

    A request whose body is complete, but whose size in pixels is not known yet, is *coming*.  Its
    cost, estimated from its length, counts against requests that arrive, or are complete, after it.
    Otherwise a crowd that arrives at one moment would be accepted as a whole, since none of it is
    working yet.  Incomplete bodies count as nothing, however many there are: connections that send
    nothing more must not keep others out.

    To be used on the event loop only; there are no locks.
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
        """Use ``cost`` for estimates from now on."""
        self.cost = cost
        self._typical = Pace(cost.of(_TYPICAL_PIXELS))
        self._per_byte = Pace(self._typical.seconds / _TYPICAL_BYTES)

    @property
    def seconds_per_request(self) -> float:
        """How much of the whole service's time a typical request takes."""
        return self.pace.seconds * self._typical.seconds

    @property
    def backlog_seconds(self) -> float:
        """Seconds until all working and coming requests are finished."""
        return self.pace.seconds * (self.ahead + _cost(self._coming))

    @contextmanager
    def visit(self, declared: int, deadline: Deadline) -> Iterator[Visit]:
        """Accept a request before the first byte of its body, and count it until the context ends.

        ``declared`` is the length of the body, or 0 if it is unknown.  Raises Overloaded,
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
        """An estimate without the size in pixels: the typical cost, or less for a small file."""
        typical = self._typical.seconds
        return min(typical, self._per_byte.seconds * declared) if declared else typical

    def _learn(self, cost: float, size: int) -> None:
        """Learn from a photo of ``size`` bytes what a typical request and a byte cost."""
        self._typical.note(cost)
        self._per_byte.note(cost / max(size, 1))

    def _check_time(self, cost: float, deadline: Deadline, coming: Collection[Visit] = ()) -> None:
        """Raise QueueFull or Overloaded if work of this ``cost`` could not be finished in time.

        ``coming`` are the requests that will be worked on before it.
        """
        if self.line.is_full:
            raise QueueFull("Too many requests are waiting; try again.", self._retry_after())
        expected = self.pace.seconds * (self.ahead + _cost(coming) + cost)
        is_known = self.pace.seen > _KNOWN_AFTER
        allowed = (_SHARE if is_known else _SHARE_AT_FIRST) * deadline.remaining
        if self.working + len(coming) >= self.parallel and expected > allowed:
            raise Overloaded(
                "More work is waiting than can be finished in time.",
                self._retry_after(expected - allowed),
            )

    def _retry_after(self, room: float = 0.0) -> float:
        """A random number of seconds between the next free place and the end of the backlog.

        The next place is free in ``room`` seconds, then more become free one by one.  Spread over
        that time, requests that were refused together do not return together.
        """
        room = max(room, self.seconds_per_request)
        return random.uniform(room, max(room, self.backlog_seconds))

    def _reserve(self, size: int) -> None:
        """Count bytes of an upload.  Raises Overloaded if there are too many."""
        if self.bytes + size > self.max_bytes:
            for visit in self._uploads:
                visit.release_if_slow()
        if self.bytes + size > self.max_bytes:
            raise Overloaded("Too many bytes are in flight.", self._retry_after())
        self.bytes += size


class Visit:
    """An accepted request.

    The bytes that it declared are reserved, so that it is not refused halfway, as long as they
    arrive fast enough to be complete by its deadline.  A slower one holds only what has arrived.
    """

    def __init__(self, admission: Admission, declared: int, deadline: Deadline) -> None:
        self.deadline = deadline
        self.cost = 0.0
        """Estimated from its length when the body is complete, later from its pixels."""
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
        """How long the body took to arrive."""
        return self.completed - self.began

    def receive(self, size: int) -> None:
        """Count bytes of the body.  Raises Overloaded if there are too many."""
        self._received += size
        if (more := self._received - self._held) > 0:
            self._admission._reserve(more)
            self._held += more

    def release_if_slow(self) -> None:
        """Release the bytes that have not arrived, if they cannot arrive in time."""
        elapsed = time.monotonic() - self.since
        rest = self._declared - self._received
        if elapsed > _GRACE_S and self._received / elapsed * self.deadline.remaining < rest:
            self._release(self._held - self._received)

    def complete(self) -> None:
        """Note that the body is complete.  Raises Overloaded, QueueFull."""
        admission = self._admission
        self.completed = time.perf_counter()
        admission._uploads.discard(self)
        self.cost = admission._cost_by_length(self._received)
        admission._check_time(self.cost, self.deadline, admission._coming)
        admission._coming.add(self)

    def join(self, pixels: int, scale: int = 1) -> None:
        """Begin work on a photo whose output has this many pixels, enlarged by ``scale``.

        Raises Overloaded, QueueFull.
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
        """Note that the answer begins, or that the request ended without; later calls do nothing.

        Refused or abandoned work took less time than it would have taken, so the pace learns from
        it only if it took longer than expected.  Otherwise a client that sends text instead of
        pictures could make the service accept too much.
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
