"""Four times what the service can do: it does as much as before, and refuses the rest at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import mean

from tests.soak.client import Address
from tests.soak.figures import Latency, counted
from tests.soak.load import Load, closed_loop, open_loop
from tests.soak.photos import kinds_of_faces, photos_of
from tests.soak.watch import Health, processor_seconds, watched_health

TIMES = 4
_CLIENTS = (2, 4, 8)
_SIDE = 160
_GRACE_S = 0.5  # beyond the deadline: the way of the answer


@dataclass(frozen=True)
class OverloadBounds:
    goodput: float = 0.9
    """Of the best throughput."""
    late: float = 0.01
    """Share of 504s among those let in."""
    refusal_p95_s: float = 0.1
    health_p95_s: float = 0.25


@dataclass(frozen=True)
class Cores:
    """Processor time over time: what the server and its clients got of a shared machine."""

    server: float | None
    clients: float

    def __str__(self) -> str:
        server = "unknown" if self.server is None else f"{self.server:.2f}"
        return f"cores: server {server}, clients {self.clients:.2f}"


@dataclass(frozen=True)
class OverloadResult:
    throughput: dict[int, float]
    """200s a second, by the number of clients in a closed loop."""
    best: float
    """Of the best of these numbers of clients, measured in alternation with the overload."""
    best_cores: Cores
    rate: float
    """Requests a second in the open loop."""
    deadline_s: float
    seconds: float
    goodput: float
    """200s a second, in time."""
    goodput_share: float
    """Of the best throughput."""
    cores: Cores
    answers: dict[str, int]
    late_share: float
    accepted: Latency
    refused: Latency
    health: Latency
    violations: list[str]

    def text(self) -> str:
        probes = ", ".join(f"{rate:.1f} by {clients}" for clients, rate in self.throughput.items())
        answers = ", ".join(f"{label}: {count}" for label, count in self.answers.items())
        return "\n".join(
            [
                f"closed loops, 200s a second: {probes}",
                f"the best again, in alternation: {self.best:.1f} ({self.best_cores})",
                f"open loop, {self.rate:.1f} a second for {self.seconds:g} s: {answers}",
                f"goodput {self.goodput:.1f} a second, {self.goodput_share:.2f} of the best "
                f"({self.cores})",
                f"accepted (deadline {self.deadline_s:g} s, {self.late_share:.2%} of them late): "
                f"{self.accepted}",
                f"refused: {self.refused}",
                f"/health: {self.health}",
            ]
        )


async def overload(
    address: Address,
    pid: int | None,
    *,
    deadline_s: float,
    faces: int = 48,
    seconds: float = 90,
    rounds: int = 3,
    probe_s: float = 6,
    clients: tuple[int, ...] = _CLIENTS,
    bounds: OverloadBounds | None = None,
) -> OverloadResult:
    """Load a service whose REQUEST_TIMEOUT_S is ``deadline_s``.

    Finds the best number of clients first.  Then it alternates between these and four times as
    many requests as they have just got answered, since the machine may be faster at one time than
    at another.
    """
    photos = await photos_of(address, kinds_of_faces(faces, [_SIDE]))
    length = seconds / rounds
    # in a deadline's time, the queue has its length
    probe_ramp, ramp = (min(deadline_s, loop_s / 2) for loop_s in (probe_s, length))
    probes: dict[int, Load] = {}
    calm: list[Load] = []
    storm: list[Load] = []
    watches = _Stopwatch(pid), _Stopwatch(pid)
    async with watched_health(address) as calm_health:
        for count in clients:
            probes[count] = await closed_loop(address, photos, count, probe_s)
    busiest = max(probes, key=lambda count: probes[count].goodput(probe_ramp))
    rates: list[float] = []
    health = Health()
    for seed in range(rounds):
        with watches[0]:
            calm.append(await closed_loop(address, photos, busiest, length))
        async with watched_health(address, health):
            with watches[1]:
                rates.append(TIMES * calm[-1].goodput(ramp))
                storm.append(await open_loop(address, photos, rates[-1], length, seed))
    best, goodput = (mean(load.goodput(ramp) for load in loads) for loads in (calm, storm))
    times = {s: [t for load in storm for t in load.seconds_of(s)] for s in (200, 503, 504)}
    result = OverloadResult(
        {count: round(probe.goodput(probe_ramp), 2) for count, probe in probes.items()},
        round(best, 2),
        watches[0].cores,
        round(mean(rates), 1),
        deadline_s,
        seconds,
        round(goodput, 2),
        round(goodput / best, 3),
        watches[1].cores,
        counted(exchange.answer.label for load in storm for exchange in load.exchanges),
        len(times[504]) / max(1, len(times[200]) + len(times[504])),
        Latency.of(times[200]),
        Latency.of(times[503]),
        Latency.of(health.seconds),
        [fault for load in [*probes.values(), *calm] for fault in load.faults()],
    )
    result.violations.extend(fault for load in storm for fault in load.faults((503, 504)))
    result.violations.extend([*calm_health.violations, *health.violations])
    result.violations.extend(_judged(result, bounds or OverloadBounds()))
    return result


class _Stopwatch:
    """Processor time of the server and of this process, while it is entered."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._spent = [0.0, 0.0, 0.0]

    def __enter__(self) -> None:
        self._spent = [spent - now for spent, now in zip(self._spent, self._now(), strict=True)]

    def __exit__(self, *_: object) -> None:
        self._spent = [spent + now for spent, now in zip(self._spent, self._now(), strict=True)]

    @property
    def cores(self) -> Cores:
        wall, server, clients = self._spent
        return Cores(
            None if self._pid is None else round(server / wall, 2), round(clients / wall, 2)
        )

    def _now(self) -> tuple[float, float, float]:
        server = 0.0 if self._pid is None else processor_seconds(self._pid)
        return time.perf_counter(), server, time.process_time()


def _judged(result: OverloadResult, bounds: OverloadBounds) -> list[str]:
    latest = result.deadline_s + _GRACE_S
    broken = {
        f"goodput is {result.goodput_share:.2f} of the best": (
            result.goodput_share < bounds.goodput
        ),
        f"{result.late_share:.1%} of the accepted were late": result.late_share > bounds.late,
        f"an accepted one took {result.accepted.most:.2f} s": result.accepted.most > latest,
        "nobody was refused": not result.refused.count,
        f"refusals took {result.refused.p95:.3f} s (p95)": (
            result.refused.p95 > bounds.refusal_p95_s
        ),
        f"/health took {result.health.p95:.3f} s (p95)": result.health.p95 > bounds.health_p95_s,
        "/health was not asked": not result.health.count,
    }
    return [violation for violation, is_so in broken.items() if is_so]
