"""SIGTERM under load: whoever got in is served, and the process ends well."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from dataclasses import dataclass
from itertools import cycle

from tests.forked import Process
from tests.soak.client import Address, Answer, End, ask, message
from tests.soak.figures import Latency, counted
from tests.soak.kinds import judge
from tests.soak.photos import Photo, kinds_of_faces, photos_of

_CLIENTS = 6
_SIDE = 160
_PHOTOS = 24
_BEFORE_S = 2.0
_HEALTH_S = 3.0
_EXIT_S = 60.0
_EDGE_S = 0.25  # around the closing of the listener: a connection may be lost between two calls


@dataclass(frozen=True)
class DrainResult:
    drain_s: float
    before: dict[str, int]
    """Answers to what was sent before the signal and answered after it."""
    during: dict[str, int]
    """To what was sent after the signal."""
    latency: Latency
    """Of all that were answered after the signal."""
    health_turned_s: float | None
    """Seconds until /health said that the service is draining."""
    ended_s: float
    """Seconds from the signal to the end of the process."""
    exit_code: int | None
    violations: list[str]

    def text(self) -> str:
        before = ", ".join(f"{label}: {count}" for label, count in self.before.items())
        during = ", ".join(f"{label}: {count}" for label, count in self.during.items())
        turned = "never" if self.health_turned_s is None else f"after {self.health_turned_s:.2f} s"
        return "\n".join(
            [
                f"in flight at SIGTERM: {before}; sent later: {during}",
                f"latency since then: {self.latency}; /health turned {turned}",
                f"the process ended after {self.ended_s:.1f} s (drain {self.drain_s:g} s) "
                f"with {self.exit_code}",
            ]
        )


@dataclass(frozen=True)
class _Request:
    photo: Photo
    started: float
    """Seconds from the signal."""
    answer: Answer

    @property
    def ended(self) -> float:
        return self.started + self.answer.seconds


async def drain(address: Address, process: Process, *, drain_s: float) -> DrainResult:
    """End a service whose DRAIN_S is ``drain_s``, under load."""
    photos = await photos_of(address, kinds_of_faces(_PHOTOS, [_SIDE]))
    supply = cycle(photos)
    requests: list[tuple[Photo, float, Answer]] = []

    async def client() -> None:
        while True:
            photo, started = next(supply), time.perf_counter()
            answer = await ask(address, photo.message)
            requests.append((photo, started, answer))
            if answer.end is not End.COMPLETE:
                return

    clients = [asyncio.create_task(client()) for _ in range(_CLIENTS)]
    await asyncio.sleep(_BEFORE_S)
    process.send_signal(signal.SIGTERM)
    signalled = time.perf_counter()
    turned = await _health_turns(address)
    await asyncio.gather(*clients)
    try:
        code: int | None = await asyncio.to_thread(process.wait, _EXIT_S)
    except subprocess.TimeoutExpired:
        code = None
    ended = time.perf_counter() - signalled
    seen = [_Request(photo, started - signalled, answer) for photo, started, answer in requests]
    since = [request for request in seen if request.ended > 0]
    return DrainResult(
        drain_s,
        counted(request.answer.label for request in since if request.started <= 0),
        counted(request.answer.label for request in since if request.started > 0),
        Latency.of([r.answer.seconds for r in since if r.answer.end is End.COMPLETE]),
        turned,
        round(ended, 2),
        code,
        _violations(seen, turned, ended, code, drain_s),
    )


async def _health_turns(address: Address) -> float | None:
    start = time.perf_counter()
    while time.perf_counter() - start < _HEALTH_S:
        answer = await ask(address, message("GET", "/health"))
        if answer.status == 503 and b'"draining"' in answer.body:
            return round(time.perf_counter() - start, 3)
        await asyncio.sleep(0.02)
    return None


def _violations(
    seen: list[_Request], turned: float | None, ended: float, code: int | None, drain_s: float
) -> list[str]:
    violations = []
    for request in seen:
        answered = request.answer.end is End.COMPLETE
        if not answered and request.started > drain_s - _EDGE_S:
            continue  # the listener is closed, or just closing
        fault = judge(request.photo, request.answer) if answered else request.answer.end
        if answered and request.answer.status != 200:
            fault = f"{request.answer.label} instead of 200"
        if fault is not None:
            violations.append(f"sent {request.started:.2f} s from the signal: {fault}")
    if not any(request.started <= 0 < request.ended for request in seen):
        violations.append("nothing was in flight at the signal")
    if not any(request.started > 0 and request.answer.status == 200 for request in seen):
        violations.append("nobody was served after the signal")
    if turned is None:
        violations.append(f"/health did not turn within {_HEALTH_S:g} s")
    if ended < drain_s:
        violations.append(f"the process ended after {ended:.1f} s")
    if code != 0:
        violations.append(f"the process ended with {code}")
    return violations
