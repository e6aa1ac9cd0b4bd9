"""Bodies of gigabytes that do not say so: refused when the limit is reached, and never kept."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from tests.soak.bad import problem_fault
from tests.soak.client import MULTIPART, Address, Answer, End, connected, file_part, message
from tests.soak.figures import counted
from tests.soak.load import Comparison, Load, closed_loop
from tests.soak.photos import kinds_of_faces, photos_of
from tests.soak.watch import watched_memory

_GB = 1_000_000_000
_MB = 1_000_000
_PIECE = 65_536
_RATE = 8 * _MB  # bytes a second of one upload: a fast line
_SLACK = 16 * _MB  # on the way, in the buffers of both sides, and read for a polite goodbye
_CLIENTS = 2
_SIDE = 160
_CLOSED_S = 10.0


@dataclass(frozen=True)
class Upload:
    sent: int
    """Bytes."""
    answer: Answer
    closed_after: float | None
    """Seconds."""


@dataclass(frozen=True)
class HugeBodyResult:
    size: int
    """Bytes that each upload wanted to send."""
    uploads: int
    answers: dict[str, int]
    most_sent_mb: float
    good: Comparison
    memory_before_mb: float
    memory_most_mb: float
    violations: list[str]

    def text(self) -> str:
        answers = ", ".join(f"{label}: {count}" for label, count in self.answers.items())
        return "\n".join(
            [
                f"{self.uploads} uploads of {self.size / _MB:.0f} MB: {answers}; "
                f"{self.most_sent_mb:.1f} MB were sent at most",
                self.good.text(),
                f"memory: {self.memory_before_mb:.0f} MB before, "
                f"{self.memory_most_mb:.0f} MB at most",
            ]
        )


async def huge_body(
    address: Address,
    pid: int,
    *,
    size: int = 2 * _GB,
    faces: int = 24,
    limit: int = 20 * _MB,
    rounds: int = 4,
    round_s: float = 10,
    most: float = 1.2,
    growth_mb: float = 100,
) -> HugeBodyResult:
    """Attack a service whose MAX_UPLOAD_MB is ``limit``.

    Good clients are watched in alternation, alone and with one upload after another going on at
    the speed of a fast line; at the end comes one as fast as it gets.
    """
    photos = await photos_of(address, kinds_of_faces(faces, [_SIDE]))
    await closed_loop(address, photos, _CLIENTS, 2)  # whatever is slow, or taken, only at first
    alone: list[Load] = []
    among: list[Load] = []
    uploads: list[Upload] = []
    before = peak = 0.0
    for _ in range(rounds):
        async with watched_memory(pid, pause=0.2) as memory:
            alone.append(await closed_loop(address, photos, _CLIENTS, round_s))
        before = before or memory.most or 0.0
        async with watched_memory(pid, pause=0.2) as memory:
            attack = asyncio.create_task(_uploads(address, size, round_s))
            among.append(await closed_loop(address, photos, _CLIENTS, round_s))
            uploads += await attack
        peak = max(peak, memory.most or 0.0)
    async with watched_memory(pid, pause=0.05) as memory:
        uploads.append(await upload(address, size, None))
    peak = max(peak, memory.most or 0.0)
    good = Comparison.of(alone, among)
    violations = [fault for load in alone + among for fault in load.faults()]
    violations += [fault for upload in uploads if (fault := _fault(upload, limit)) is not None]
    violations += good.violations(most)
    if peak - before > growth_mb:
        violations.append(f"the memory grew from {before:.0f} to {peak:.0f} MB")
    return HugeBodyResult(
        size,
        len(uploads),
        counted(one.answer.label for one in uploads),
        max(one.sent for one in uploads) / _MB,
        good,
        before,
        peak,
        violations,
    )


async def _uploads(address: Address, size: int, seconds: float) -> list[Upload]:
    done = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        done.append(await upload(address, size, _RATE))
    return done


async def upload(address: Address, size: int, rate: float | None) -> Upload:
    """Send ``size`` bytes in chunks, made as they are sent; stop when the answer comes.

    ``rate``: bytes a second; None is as fast as they are taken.
    """
    request = message(
        "POST",
        "/enhance",
        headers={"Content-Type": MULTIPART, "Transfer-Encoding": "chunked"},
    )
    piece = _chunk(bytes(_PIECE))
    start, sent = time.perf_counter(), 0
    async with connected(address) as connection:
        connection.send(request.head)
        connection.send(_chunk(file_part()))
        while sent < size and await connection.writable():
            connection.send(piece)
            sent += _PIECE
            due = 0.0 if rate is None else start + sent / rate - time.perf_counter()
            await asyncio.sleep(max(0.0, due))
        answer = await connection.answer()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSED_S):
                await asyncio.shield(connection.closed)
        return Upload(sent, answer, connection.closed_after)


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _fault(upload: Upload, limit: int) -> str | None:
    answer = upload.answer
    if answer.end is not End.COMPLETE or answer.status != 413:
        return f"an upload of {upload.sent / _MB:.1f} MB ended with {answer.label}, not 413"
    if not limit <= upload.sent <= limit + _SLACK:
        return f"{upload.sent / _MB:.1f} MB were sent until the 413"
    if upload.closed_after is None:
        return f"the connection was still open {_CLOSED_S:g} s after the 413"
    return problem_fault(answer)
