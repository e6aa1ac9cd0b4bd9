"""``python -m tests.benchmarks.service``: the service over HTTP, against its stages without it.

A server of its own with the starter, its engines prepared, is sent portraits of 512x512 pixels by
so many clients at a time, each with its next one as soon as the last is answered.  By turns with
that the same stages run as plain functions in one process: one photo after another by all cores,
and a photo a core.  The clients share the machine with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from tests.benchmarks.photos import portrait
from tests.benchmarks.plain import Plain, workers
from tests.benchmarks.report import Machine, add_json, keep, tell
from tests.benchmarks.turns import take_turns
from tests.conftest import Server, serving_afresh
from tests.soak.client import Address, Answer, Pool, form
from tests.soak.figures import Latency, megabytes, table
from tests.soak.load import closed_loop
from tests.soak.photos import Photo
from tests.soak.scenarios import MODEL, prepare
from tests.soak.watch import processor_seconds, resident_mb

CONCURRENCIES = (1, 2, 8, 32)
_LOOP, _THREADS = "plain, all cores a photo", "plain, a core a photo"
_RAMP = 0.25  # of a turn: until as many photos are begun as are finished
_CALM_S = 0.05


@dataclass(frozen=True)
class Block:
    """A turn of one of them."""

    photos_a_second: float
    processor_ms: float
    """A photo: the processor's time in the process that does the work."""
    latencies: list[float]
    """Seconds; none of plain functions."""


@dataclass(frozen=True)
class Figure:
    """Medians over the turns."""

    name: str
    photos_a_second: float
    processor_ms: float
    latency: Latency
    """Over all turns."""
    to_loop: float
    """Throughput, relative to plain functions, one photo after another."""
    to_threads: float
    """Likewise, to a photo a core."""


@dataclass(frozen=True)
class Idle:
    """One request on an idle service, and its stages as plain functions: medians, ms."""

    request: float
    plain: float
    ratio: float


@dataclass(frozen=True)
class Service:
    engine: str
    figures: list[Figure]
    idle: Idle
    mb_before: float
    """Resident memory of the server, healthy, before its first request."""
    mb_after: float


def measure(
    concurrencies: Sequence[int], rounds: int, turn_s: float, idle_rounds: int, cores: int
) -> Service:
    """Raises RuntimeError when a request is not answered with a restored face."""
    data = portrait()
    blocks: dict[str, list[Block]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving_afresh(Path(folder) / "log", GPEN_MODEL=MODEL, GPEN_LOG_LEVEL="info") as server,
        workers(1, cores) as loop,
        workers(cores, 1) as threads,
    ):
        before = resident_mb(server.process.pid)
        turns: dict[str, Callable[[], Block]] = {
            _LOOP: partial(_plain_block, loop.photos, data, turn_s),
            **{
                f"service, {clients} at a time": partial(
                    _served_block, server, data, clients, turn_s
                )
                for clients in concurrencies
            },
            _THREADS: partial(_plain_block, threads.photos, data, turn_s),
        }
        idle = measure_idle(server, data, loop.plain[0], idle_rounds)
        for _ in range(rounds):
            for name, turn in turns.items():
                blocks.setdefault(name, []).append(turn())
        after = resident_mb(server.process.pid)
        engine = loop.plain[0].loaded.restorer.engine
    return Service(f"{engine.name} {engine.precision}", _figures(blocks), idle, before, after)


def measure_idle(server: Server, data: bytes, plain: Plain, rounds: int) -> Idle:
    """Request and plain functions by turns; one of each first, which do not count."""
    message = form(data)
    with asyncio.Runner() as runner:
        pool = Pool(Address.of(server.url))
        both: dict[str, Callable[[], object]] = {
            "request": lambda: check(runner.run(pool.ask(message))),
            "plain": lambda: plain(data),
        }
        take_turns(both, 1, calm_s=_CALM_S)
        seconds = take_turns(both, rounds, calm_s=_CALM_S)
        runner.run(pool.close())
    request, bare = (1000 * median(seconds[name]) for name in both)
    return Idle(request, bare, request / bare)


def check(answer: Answer) -> None:
    """Raises RuntimeError."""
    if answer.status != 200 or answer.headers["x-faces-restored"] != "1":
        raise RuntimeError(f"a portrait was answered with {answer.label}, {dict(answer.headers)}")


def _served_block(server: Server, data: bytes, clients: int, turn_s: float) -> Block:
    photo = Photo(0, form(data), np.empty((0, 0, 3), np.uint8), None, lossy=True)
    start = processor_seconds(server.process.pid)
    load = asyncio.run(closed_loop(Address.of(server.url), [photo], clients, turn_s))
    for exchange in load.exchanges:
        check(exchange.answer)
    spent = processor_seconds(server.process.pid) - start
    latencies = load.seconds_of(200)
    return Block(load.goodput(_RAMP * turn_s), 1000 * spent / len(latencies), latencies)


def _plain_block(photos: Callable[[bytes, float], int], data: bytes, turn_s: float) -> Block:
    start = time.process_time()
    done = photos(data, turn_s)
    return Block(done / turn_s, 1000 * (time.process_time() - start) / max(1, done), [])


def _figures(blocks: dict[str, list[Block]]) -> list[Figure]:
    speed = {name: median(b.photos_a_second for b in turns) for name, turns in blocks.items()}
    return [
        Figure(
            name,
            speed[name],
            median(block.processor_ms for block in turns),
            Latency.of([seconds for block in turns for seconds in block.latencies]),
            to_loop=speed[name] / speed[_LOOP],
            to_threads=speed[name] / speed[_THREADS],
        )
        for name, turns in blocks.items()
    ]


def text(service: Service) -> str:
    rows: list[tuple[str, ...]] = [
        ("", "photos/s", "processor ms a photo", "to loop", "to threads", "p50 ms", "p95 ms")
    ]
    for figure in service.figures:
        latency = figure.latency
        rows.append(
            (
                figure.name,
                f"{figure.photos_a_second:.2f}",
                f"{figure.processor_ms:.1f}",
                f"{figure.to_loop:.2f}",
                f"{figure.to_threads:.2f}",
                *(
                    f"{1000 * value:.0f}" if latency.count else ""
                    for value in (latency.p50, latency.p95)
                ),
            )
        )
    idle = service.idle
    return (
        f"{service.engine}\n{table(rows)}\n"
        f"one request on an idle service {idle.request:.1f} ms, "
        f"plain functions {idle.plain:.1f} ms: ratio {idle.ratio:.2f}\n"
        f"resident memory {megabytes(service.mb_before)}, "
        f"after all requests {megabytes(service.mb_after)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.service", description=__doc__)
    parser.add_argument("--concurrencies", type=int, nargs="+", default=CONCURRENCIES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of a turn")
    parser.add_argument("--requests", type=int, default=40, help="on the idle service")
    add_json(parser)
    options = parser.parse_args()
    prepare()
    service = measure(
        options.concurrencies,
        options.rounds,
        options.seconds,
        options.requests,
        torch.get_num_threads(),
    )
    tell(f"{Machine.this()}\n{text(service)}")
    keep(options.json, "service", asdict(service))


if __name__ == "__main__":
    main()
