"""The scenarios: a title, the settings of the server, and who comes to it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Server, serving_afresh
from tests.load.crowds import Row, crowd, patient, slow_readers, two_sizes
from tests.load.framing import KINDS, flooding, liveness
from tests.load.goodput import goodput
from tests.load.replicas import REFUSING, REPLICAS, failures
from tests.load.strangers import around_the_gate, large_json
from tests.soak.client import Address
from tests.soak.scenarios import MODEL

_POD = 4 * 2**30  # bytes of memory
_SHORT_S = 6.0  # a deadline that an overload reaches soon
_FLOOD_S = 8.0


@dataclass(frozen=True)
class Scenario:
    title: str
    run: Callable[[Path], Row]
    """Given the working copy of the repository that serves."""


def _on_a_server(
    visit: Callable[[Address, int], Awaitable[Row]], **settings: str
) -> Callable[[Path], Row]:
    """``visit`` is given the server's address and the number of its process."""

    def run(checkout: Path) -> Row:
        async def visiting(server: Server) -> Row:
            return await visit(Address.of(server.url), server.process.pid)

        with _server(checkout, **settings) as server:
            return asyncio.run(visiting(server))

    return run


@contextlib.contextmanager
def _server(checkout: Path, **settings: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {"GPEN_MODEL": MODEL, "GPEN_LOG_LEVEL": "info", **settings}
        with serving_afresh(Path(folder) / "log", "", checkout, **environment) as server:
            yield server


def _empty_cache(checkout: Path) -> Row:
    """As the very first start is: engines are measured and converted beside the crowd."""
    with tempfile.TemporaryDirectory() as cache:
        return _on_a_server(lambda address, _: crowd(address, 140), GPEN_CACHE_DIR=cache)(checkout)


def _framing(checkout: Path) -> Row:
    with _server(checkout) as server:
        row = {"nobody else": str(liveness(server.url, _FLOOD_S))}
        for kind in KINDS:
            for connections in (30, 60):
                with flooding(server.url, kind, connections):
                    row[f"{connections} with {kind}"] = str(liveness(server.url, _FLOOD_S))
    return row


def _replicas(checkout: Path) -> Row:
    configuration = (checkout / "docker" / "nginx" / "nginx.conf").read_text()
    return {
        f"failed at {phase.rate} a second": f"{phase.failed} of {phase.sent}"
        for phase in failures(configuration)
    }


SCENARIOS = {
    "fresh": Scenario(
        "140 photos of 200 kB at once, right after the start",
        _on_a_server(lambda address, _: crowd(address, 140)),
    ),
    "first": Scenario("The same, right after the very first start", _empty_cache),
    "400": Scenario("400 at once", _on_a_server(lambda address, _: crowd(address, 400))),
    "48": Scenario(
        "48 at once that come back when they are told to, deadline 10 s",
        _on_a_server(lambda address, _: patient(address, 48), GPEN_REQUEST_TIMEOUT_S="10"),
    ),
    "sizes": Scenario(
        "One client with 12 megapixels and upscale=2, two with 200 pixels a side; pod of 4 GiB",
        _on_a_server(
            lambda address, _: two_sizes(address),
            GPEN_MAX_PIXELS_IN_FLIGHT=str(int(0.6 * _POD / 100)),
        ),
    ),
    "readers": Scenario(
        "Four answers of 55 MB that are read at 100 kB/s; pod of 4 GiB",
        _on_a_server(
            lambda address, _: slow_readers(address),
            GPEN_MAX_MB_IN_FLIGHT=str(0.05 * _POD / 1e6),
        ),
    ),
    "goodput": Scenario(
        f"Once, twice and four times what it can do, deadline {_SHORT_S:g} s",
        _on_a_server(goodput, GPEN_REQUEST_TIMEOUT_S=str(_SHORT_S)),
    ),
    "replicas": Scenario(f"{REPLICAS} replicas behind nginx, {REFUSING} refusing", _replicas),
    "framing": Scenario("Framing that costs more than its bytes: the liveness probe", _framing),
    "gate": Scenario("POST /enhance%0A with a body of 500 MB", _on_a_server(around_the_gate)),
    "json": Scenario(
        "An answer of 100 MB, read slowly, as a picture and in JSON",
        _on_a_server(large_json, GPEN_MAX_UPLOAD_MB="60", GPEN_REQUEST_TIMEOUT_S="120"),
    ),
}
