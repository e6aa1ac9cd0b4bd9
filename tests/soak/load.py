"""Load by good clients that send one photo after another: closed and open loops."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from tests.soak.client import Address, Answer, Pool
from tests.soak.figures import Latency
from tests.soak.kinds import judge
from tests.soak.photos import Photo


@dataclass(frozen=True)
class Exchange:
    photo: Photo
    started: float
    """Seconds since the loop began."""
    answer: Answer

    @property
    def finished(self) -> float:
        return self.started + self.answer.seconds


@dataclass(frozen=True)
class Load:
    """What came of a loop that lasted ``seconds``."""

    seconds: float
    exchanges: list[Exchange]

    def goodput(self, ramp: float) -> float:
        """200s a second, from ``ramp`` seconds on until the loop's time is over.

        While the queue of an overload fills, the service works for answers that come later.
        """
        done = sum(
            exchange.answer.status == 200 and ramp < exchange.finished <= self.seconds
            for exchange in self.exchanges
        )
        return done / (self.seconds - ramp)

    def seconds_of(self, *statuses: int) -> list[float]:
        return [e.answer.seconds for e in self.exchanges if e.answer.status in statuses]

    def faults(self, also: tuple[int, ...] = ()) -> list[str]:
        """Wrong pictures, lost answers, and answers that are neither 200 nor among ``also``."""
        faults = []
        for exchange in self.exchanges:
            answer = exchange.answer
            if answer.label in map(str, also) and answer.status != 503:
                continue
            fault = judge(exchange.photo, answer)
            if answer.label == "503" and 503 not in also:
                fault = f"refused without need: {answer.body.decode()}"
            if fault is not None:
                faults.append(f"photo {exchange.photo.number}: {fault}")
        return faults


@dataclass(frozen=True)
class Comparison:
    """Latencies of good clients, alone and while something else goes on."""

    alone: Latency
    among: Latency
    p95_ratio: float

    @classmethod
    def of(cls, alone: Sequence[Load], among: Sequence[Load]) -> Comparison:
        one, other = (
            Latency.of([seconds for load in loads for seconds in load.seconds_of(200)])
            for loads in (alone, among)
        )
        ratio = other.p95 / one.p95 if one.count and other.count else math.inf
        return cls(one, other, round(ratio, 3))

    def violations(self, most: float) -> list[str]:
        slower = self.p95_ratio > most  # or nobody was served
        return [f"good clients' p95 became {self.p95_ratio:.2f} times as long"] if slower else []

    def text(self) -> str:
        return (
            f"good clients alone:     {self.alone}\n"
            f"good clients meanwhile: {self.among}; p95 times {self.p95_ratio:.2f}"
        )


async def closed_loop(
    address: Address, photos: Sequence[Photo], clients: int, seconds: float
) -> Load:
    """``clients`` that send the next photo as soon as the last one is answered."""
    exchanges: list[Exchange] = []
    pool = Pool(address)
    start = time.perf_counter()
    supply = cycle(photos)

    async def client() -> None:
        while (started := time.perf_counter() - start) < seconds:
            photo = next(supply)
            exchanges.append(Exchange(photo, started, await pool.ask(photo.message)))

    await asyncio.gather(*(client() for _ in range(clients)))
    await pool.close()
    return Load(seconds, exchanges)


async def open_loop(
    address: Address, photos: Sequence[Photo], rate: float, seconds: float, seed: int = 0
) -> Load:
    """Photos at ``rate`` a second, at random moments, however long the answers take."""
    pool = Pool(address)
    start = time.perf_counter()

    async def client(photo: Photo) -> Exchange:
        started = time.perf_counter() - start
        return Exchange(photo, started, await pool.ask(photo.message))

    tasks = []
    for moment, photo in zip(_moments(rate, seconds, seed), cycle(photos), strict=False):
        await asyncio.sleep(max(0.0, moment - (time.perf_counter() - start)))
        tasks.append(asyncio.create_task(client(photo)))
    await asyncio.sleep(max(0.0, seconds - (time.perf_counter() - start)))
    exchanges = list(await asyncio.gather(*tasks))
    await pool.close()
    return Load(seconds, exchanges)


def _moments(rate: float, seconds: float, seed: int) -> Iterator[float]:
    chance = random.Random(seed)
    moment = chance.expovariate(rate)
    while moment < seconds:
        yield moment
        moment += chance.expovariate(rate)
