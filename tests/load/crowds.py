"""Crowds of clients, and what they were told, and when."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.load.photos import SlowReader, noise, portrait
from tests.soak.client import Address, Answer, Message, Pool, ask, message
from tests.soak.figures import Latency, counted

Row = dict[str, str]
"""Figures by their names."""

_PATIENCE_S = 300.0
_SLOW = 100_000  # bytes a second
_METRICS = message("GET", "/metrics")


async def crowd(address: Address, count: int) -> Row:
    """So many photos of 200 kB at the same moment."""
    async with _watched(address) as waiting:
        start = time.perf_counter()
        answers = await asyncio.gather(*(ask(address, portrait(1024)) for _ in range(count)))
        seconds = time.perf_counter() - start
    return _figures(answers, seconds) | {"seen to wait, at most": f"{max(waiting, default=0):.0f}"}


async def patient(address: Address, count: int) -> Row:
    """So many at the same moment, each coming back when it was told to, until it is served."""
    answers: list[Answer] = []

    async def client() -> float:
        start = time.perf_counter()
        while time.perf_counter() - start < _PATIENCE_S:
            answer = await ask(address, portrait(1024))
            answers.append(answer)
            if answer.status != 503:
                break
            await asyncio.sleep(float(answer.headers["retry-after"]))
        return time.perf_counter() - start

    start = time.perf_counter()
    seconds = await asyncio.gather(*(client() for _ in range(count)))
    return _figures(answers, time.perf_counter() - start) | {
        "requests each": f"{len(answers) / count:.1f}",
        "until served": str(Latency.of(seconds)),
    }


async def two_sizes(address: Address, seconds: float = 30) -> Row:
    """Two clients with pictures of 200 px, and one with 12 megapixels that become 48."""
    small: list[Answer] = []
    large: list[Answer] = []
    pool = Pool(address)
    end = time.perf_counter() + seconds

    async def client(request: Message, answers: list[Answer], pause: float) -> None:
        while time.perf_counter() < end:
            answers.append(await pool.ask(request))
            await asyncio.sleep(pause)

    await asyncio.gather(
        *(client(portrait(200), small, 0) for _ in range(2)),
        client(portrait(3464, 80, upscale="2"), large, 0.5),
    )
    await pool.close()
    return {
        "12 MP": counts(large),
        "12 MP served after": str(Latency.of(_seconds(large, 200))),
        "200 px": counts(small),
        "200 px served after": str(Latency.of(_seconds(small, 200))),
    }


async def slow_readers(address: Address, seconds: float = 20) -> Row:
    """Four answers of 55 MB that are read at 100 kB/s, and photos that others send meanwhile."""
    readers = [SlowReader(address, noise(2141, upscale="2"), _SLOW) for _ in range(4)]
    for reader in readers:
        await reader.begun()
    uploads = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        uploads.append(await ask(address, portrait(1024)))
        await asyncio.sleep(0.5)
    for reader in readers:
        await reader.give_up()
    return {
        "large answers": str(counted(str(reader.status) for reader in readers)),
        "readers cut off": f"{sum(reader.ended for reader in readers)} of 4",
        "photos meanwhile": counts(uploads),
        "served after": str(Latency.of(_seconds(uploads, 200))),
    }


def _figures(answers: Sequence[Answer], seconds: float) -> Row:
    served = [answer for answer in answers if answer.status == 200]
    retry = sorted(int(answer.headers["retry-after"]) for answer in answers if answer.status == 503)
    told = [_told(answer) / answer.seconds for answer in served]
    return {
        "answers": counts(answers),
        "served a second": f"{len(served) / seconds:.1f}",
        "served after": str(Latency.of(_seconds(answers, 200))),
        "refused after": str(Latency.of(_seconds(answers, 503))),
        "Retry-After, s": f"{retry[0]} to {retry[-1]}" if retry else "none",
        "Server-Timing / time": f"{min(told):.2f} to {max(told):.2f}" if told else "none",
    }


def _told(answer: Answer) -> float:
    """Seconds that an answer's Server-Timing adds up to."""
    stages = re.findall(r"dur=([\d.]+)", answer.headers["server-timing"])
    return sum(map(float, stages)) / 1000


def counts(answers: Sequence[Answer]) -> str:
    return ", ".join(f"{label}: {n}" for label, n in counted(a.label for a in answers).items())


def _seconds(answers: Sequence[Answer], status: int) -> list[float]:
    return [answer.seconds for answer in answers if answer.status == status]


@asynccontextmanager
async def _watched(address: Address) -> AsyncIterator[list[float]]:
    """What the service says how many requests or faces wait, ten times a second at most."""
    seen: list[float] = []

    async def watch() -> None:
        while True:
            text = (await ask(address, _METRICS)).body.decode()
            waiting = re.findall(r"^gpen_queue_(?:requests|faces) ([\d.]+)", text, re.MULTILINE)
            seen.append(sum(map(float, waiting)))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])
