"""All kinds of clients at once, for a long time: nobody's photo is lost, mixed up, or kept."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tqdm import tqdm

from tests.soak.client import Address
from tests.soak.figures import Latency, counted, megabytes, table
from tests.soak.kinds import Crowd, Visit
from tests.soak.photos import Album, kinds_of_faces, kinds_without_faces, photos_of
from tests.soak.watch import Memory, watched_health, watched_memory

SHARES = {
    "face": 0.5,
    "no face": 0.2,
    "bad": 0.15,
    "slow": 0.05,
    "vanishing": 0.05,
    "impatient": 0.05,
}
_GOOD = ("face", "no face", "slow")
_SERVED = 0.95  # of the good ones: a service that refuses everybody has lost nobody's photo either
_SETTLED = 500  # requests, after which the memory should not grow any more
_GROWTH = 1.10
_TOLD = 20  # violations in full


@dataclass(frozen=True)
class KindFigures:
    latency: Latency
    labels: dict[str, int]


@dataclass(frozen=True)
class MixedResult:
    requests: int
    concurrency: int
    seconds: float
    kinds: dict[str, KindFigures]
    health: Latency
    memory_mb: list[tuple[float, int, float]]
    """Seconds, requests done, MB."""
    settled_after: int
    """Requests."""
    settled_mb: float | None
    last_mb: float | None
    growth: float | None
    violations: list[str]

    @property
    def throughput(self) -> float:
        return self.requests / self.seconds

    def text(self) -> str:
        rows = [("client", "count", "latency", "answers")]
        for kind, figures in self.kinds.items():
            answers = ", ".join(f"{label}: {count}" for label, count in figures.labels.items())
            count = str(sum(figures.labels.values()))
            rows.append((kind, count, str(figures.latency), answers))
        growth = "" if self.growth is None else f", times {self.growth:.3f}"
        settled, last = megabytes(self.settled_mb), megabytes(self.last_mb)
        return "\n".join(
            [
                f"{self.requests} requests, {self.concurrency} at a time, in {self.seconds:.0f} s: "
                f"{self.throughput:.1f} a second",
                table(rows),
                f"/health: {self.health}",
                f"memory after {self.settled_after} requests {settled}, at the end {last}{growth}",
            ]
        )


async def mixed(
    address: Address,
    pid: int | None,
    *,
    requests: int = 5000,
    concurrency: int = 8,
    growth_limit: float = _GROWTH,
    progress: bool = True,
    seed: int = 0,
) -> MixedResult:
    """Serve ``requests`` of mixed clients, ``concurrency`` at a time.

    ``growth_limit``: of the memory of process ``pid``, from the first 500 requests to the end, or
    from the first quarter where there are few.
    """
    photos = await photos_of(address, kinds_of_faces(4 * concurrency))
    others = await photos_of(address, kinds_without_faces(2 * concurrency), first=len(photos))
    crowd = Crowd(address, Album(photos), Album(others), random.Random(seed))
    kinds = crowd.kinds()
    plan = iter(_plan(requests, crowd.random))
    visits: list[Visit] = []

    async def client(done: Callable[[], object]) -> None:
        for kind in plan:
            visits.append(await kinds[kind]())
            done()

    start = time.perf_counter()
    with tqdm(total=requests, unit="request", disable=not progress) as bar:
        async with (
            watched_health(address) as health,
            watched_memory(pid, lambda: len(visits)) as memory,
        ):
            await asyncio.gather(*(client(bar.update) for _ in range(concurrency)))
    seconds = time.perf_counter() - start
    settled_after = min(_SETTLED, requests // 4)
    settled = memory.after(settled_after)
    growth = memory.last / settled if memory.last and settled else None
    return MixedResult(
        requests,
        concurrency,
        round(seconds, 1),
        {kind: _figures([v for v in visits if v.kind == kind]) for kind in SHARES},
        Latency.of(health.seconds),
        [(round(s.seconds, 1), s.finished, s.mb) for s in memory.samples],
        settled_after,
        settled,
        memory.last,
        growth,
        [*_violations(visits, requests), *health.violations, *_grown(memory, growth, growth_limit)],
    )


def _plan(requests: int, order: random.Random) -> list[str]:
    """Kinds in exact shares, in an order that is the same each time."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(round(share * requests))]
    kinds = (kinds + ["face"] * requests)[:requests]
    order.shuffle(kinds)
    return kinds


def _figures(visits: list[Visit]) -> KindFigures:
    seconds = [visit.seconds for visit in visits if visit.label.isdecimal()]
    return KindFigures(Latency.of(seconds), counted(visit.label for visit in visits))


def _violations(visits: list[Visit], requests: int) -> list[str]:
    faults = [f"{visit.kind}: {visit.fault}" for visit in visits if visit.fault is not None]
    violations = faults[:_TOLD]
    if len(faults) > _TOLD:
        violations.append(f"and {len(faults) - _TOLD} more of such")
    violations += _unserved(visits)
    if len(visits) != requests:
        violations.append(f"{len(visits)} of {requests} requests were made")
    return violations


def _unserved(visits: list[Visit]) -> Iterator[str]:
    for kind in _GOOD:
        labels = [visit.label for visit in visits if visit.kind == kind]
        served = labels.count("200")
        if served < _SERVED * len(labels):
            yield f"{kind}: only {served} of {len(labels)} were served"


def _grown(memory: Memory, growth: float | None, limit: float) -> list[str]:
    if growth is None or growth <= limit:
        return []
    return [f"the memory grew {growth:.2f} times, to {megabytes(memory.last)}"]
