"""Ten replicas behind the load balancer, two of which refuse everything: how many requests fail.

The balancer is the real nginx.  The replicas are small stand-ins, for what counts is only how
requests are spread: eight have room for all of them, and two answer 503 at once, as a replica does
while it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import free_port
from tests.deployment.balanced import CONFIGURATION, balancing
from tests.soak.client import Address, Answer, Pool, form

REPLICAS = 10
REFUSING = 2
WORK_S = 0.3
"""What a replica takes for a request."""
PHASES = ((20, 8.0), (80, 7.0))
"""Requests a second, and for how many seconds: 720 requests."""

# how requests were spread before; the rest of the configuration is the same
_BEFORE = (
    ("random two least_conn;", "least_conn;"),
    ("proxy_next_upstream_tries 3;", "proxy_next_upstream_tries 2;"),
)


@dataclass(frozen=True)
class Phase:
    """What became of the requests at one rate."""

    rate: int
    """Requests a second."""
    sent: int
    failed: int
    """Those that were not answered with 200."""

    @property
    def failed_share(self) -> float:
        return self.failed / self.sent


Phases = list[Phase]


def two_of_ten_refuse(
    phases: tuple[tuple[int, float], ...] = PHASES,
) -> tuple[Phases, Phases]:
    """Figures for each rate, before (by least_conn and two tries) and after (as configured)."""
    text = CONFIGURATION.read_text()
    before = text
    for new, old in _BEFORE:
        assert before.count(new) == 1, new
        before = before.replace(new, old)
    return failures(before, phases), failures(text, phases)


def failures(text: str, phases: tuple[tuple[int, float], ...] = PHASES) -> Phases:
    """Send requests through nginx with this configuration, one rate after the other."""
    ports = [free_port() for _ in range(REPLICAS)]
    names = [f"127.0.0.1:{port}" for port in ports]
    with (
        tempfile.TemporaryDirectory() as folder,
        balancing(Path(folder), names, text) as balancer,
    ):
        return asyncio.run(_measure(balancer.address, ports, phases))


async def _measure(
    balancer: Address, ports: list[int], phases: tuple[tuple[int, float], ...]
) -> Phases:
    async with contextlib.AsyncExitStack() as running:
        for number, port in enumerate(ports):
            await running.enter_async_context(stand_in(port, refuses=number < REFUSING))
        pool = Pool(balancer)
        running.push_async_callback(pool.close)
        return [await _send(pool, rate, seconds) for rate, seconds in phases]


async def _send(pool: Pool, rate: int, seconds: float) -> Phase:
    """Send at this rate, whatever becomes of the requests before."""
    photo = form(bytes(1000))
    loop = asyncio.get_running_loop()
    start = loop.time()
    sent: list[asyncio.Task[Answer]] = []
    for number in range(round(rate * seconds)):
        await asyncio.sleep(start + number / rate - loop.time())
        sent.append(asyncio.create_task(pool.ask(photo)))
    answers = await asyncio.gather(*sent)
    return Phase(rate, len(answers), sum(answer.status != 200 for answer in answers))


@contextlib.asynccontextmanager
async def stand_in(port: int, *, refuses: bool = False) -> AsyncIterator[None]:
    """Within, a stand-in for a replica listens: it takes WORK_S, or refuses at once."""
    ends: dict[asyncio.StreamWriter, asyncio.Future[None]] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends[writer] = asyncio.get_running_loop().create_future()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readexactly(_body_length(await reader.readuntil(b"\r\n\r\n")))
                if not refuses:
                    await asyncio.sleep(WORK_S)
                status = b"503 Service Unavailable" if refuses else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        ends.pop(writer).set_result(None)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in ends:
            writer.close()
        await asyncio.gather(*ends.values())


def _body_length(head: bytes) -> int:
    fields = (line.partition(b":") for line in head.lower().splitlines())
    return next((int(value) for name, _, value in fields if name == b"content-length"), 0)
