"""Clients that begin and never go on: they are sent away in time, and nobody else waits longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from tests.soak.client import (
    MULTIPART,
    Address,
    Answer,
    Connection,
    End,
    connected,
    file_part,
    message,
)
from tests.soak.figures import Latency, counted
from tests.soak.load import Comparison, Load, closed_loop
from tests.soak.photos import kinds_of_faces, photos_of

_BODY = 60_000  # bytes
_SIDE = 160
_CLIENTS = 2
_GRACE_S = 2.0
_ARRIVAL_S = 2.0  # of all half-open ones
_PATIENCE_S = 10.0  # beyond the deadline, before a half-open one is given up
_ENDS = ("504", End.CLOSED, End.RESET)


@dataclass(frozen=True)
class HalfOpenResult:
    half_open: int
    """Connections, in each round."""
    idle: int
    rounds: int
    deadline_s: float
    ends: dict[str, int]
    """Of the half-open ones: answers, or ends without one."""
    closed: Latency
    """When they were closed."""
    idle_closed: int
    good: Comparison
    violations: list[str]

    def text(self) -> str:
        ends = ", ".join(f"{end}: {count}" for end, count in self.ends.items())
        return "\n".join(
            [
                f"{self.rounds} rounds with {self.half_open} half-open and {self.idle} idle "
                f"connections, deadline {self.deadline_s:g} s",
                f"half-open: {ends}; closed after: {self.closed}",
                f"idle: {self.idle_closed} of {self.rounds * self.idle} were closed",
                self.good.text(),
            ]
        )


@dataclass(frozen=True)
class _HalfOpen:
    answer: Answer
    closed_after: float | None


async def half_open(
    address: Address,
    *,
    deadline_s: float,
    faces: int = 24,
    count: int = 500,
    idle: int = 200,
    rounds: int = 5,
    most: float = 1.2,
) -> HalfOpenResult:
    """Attack a service whose REQUEST_TIMEOUT_S is ``deadline_s``.

    Good clients are watched in alternation, alone and among the others, from the first arrival to
    the last goodbye; their p95 may be ``most`` times as long.
    """
    photos = await photos_of(address, kinds_of_faces(faces, [_SIDE]))
    await closed_loop(address, photos, _CLIENTS, 1)  # whatever is slow only at first
    alone: list[Load] = []
    among: list[Load] = []
    others: list[_HalfOpen] = []
    idle_closed = 0
    length = deadline_s + _GRACE_S
    for _ in range(rounds):
        alone.append(await closed_loop(address, photos, _CLIENTS, length))
        async with _idle(address, idle) as idlers:
            attack = asyncio.gather(
                *(_half(address, i * _ARRIVAL_S / count, deadline_s) for i in range(count))
            )
            among.append(await closed_loop(address, photos, _CLIENTS, length))
            others += await attack
            idle_closed += sum(connection.closed.done() for connection in idlers)
    good = Comparison.of(alone, among)
    violations = [fault for load in alone + among for fault in load.faults()]
    violations += _violations(others, rounds * count, deadline_s)
    violations += good.violations(most)
    return HalfOpenResult(
        count,
        idle,
        rounds,
        deadline_s,
        counted(half.answer.label for half in others),
        Latency.of([half.closed_after for half in others if half.closed_after is not None]),
        idle_closed,
        good,
        violations,
    )


async def _half(address: Address, after: float, deadline_s: float) -> _HalfOpen:
    """Half of a body, and nothing more."""
    await asyncio.sleep(after)
    request = message(
        "POST", "/enhance", headers={"Content-Type": MULTIPART, "Content-Length": str(_BODY)}
    )
    patience = deadline_s + _PATIENCE_S
    try:
        async with connected(address) as connection:
            connection.send(request.head)
            connection.send(file_part() + bytes(_BODY // 2))
            answer = await connection.answer(patience)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await asyncio.shield(connection.closed)
            return _HalfOpen(answer, connection.closed_after)
    except OSError:
        return _HalfOpen(Answer(None, {}, b"", 0.0, End.REFUSED), None)


def _violations(others: list[_HalfOpen], count: int, deadline_s: float) -> list[str]:
    wrong = [half.answer.label for half in others if half.answer.label not in _ENDS]
    early = [s for half in others if (s := half.answer.seconds) < 0.9 * deadline_s]
    late = [
        half
        for half in others
        if half.closed_after is None or half.closed_after > deadline_s + _GRACE_S
    ]
    violations = []
    if len(others) != count:
        violations.append(f"{len(others)} of {count} half-open connections were made")
    if wrong:
        violations.append(f"{len(wrong)} half-open ones ended otherwise, as {wrong[0]}")
    if early:
        violations.append(f"{len(early)} half-open ones ended before the deadline")
    if late:
        violations.append(f"{len(late)} half-open ones were not closed in time")
    return violations


@asynccontextmanager
async def _idle(address: Address, count: int) -> AsyncIterator[list[Connection]]:
    """Connections on which nothing is sent."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(address)) for _ in range(count)]
