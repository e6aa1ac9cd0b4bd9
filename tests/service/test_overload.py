"""More than the service can do, in short; the long forms are in tests/soak.

The bounds are wide: what is measured here on a slow or busy machine must still pass.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conftest import Server, serving
from tests.load.photos import portrait
from tests.soak.client import Address, Answer, ask
from tests.soak.figures import counted
from tests.soak.half_open import half_open
from tests.soak.huge_body import huge_body
from tests.soak.overload import OverloadBounds, overload
from tests.soak.scenarios import MODEL, traces


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_crowd_right_after_the_start_is_served_in_time_or_refused(tmp_path: Path) -> None:
    async def crowd(address: Address) -> list[Answer]:
        return await asyncio.gather(*(ask(address, portrait(1024)) for _ in range(140)))

    with serving(tmp_path / "log", GPEN_MODEL=MODEL) as server:
        answers = asyncio.run(crowd(Address.of(server.url)))
    statuses = counted(answer.label for answer in answers)
    assert statuses.keys() == {"200", "503"}, statuses
    refused = [answer for answer in answers if answer.status == 503]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert max(answer.seconds for answer in refused) < 5


@pytest.mark.timeout(300)
def test_overload_is_refused_and_the_rest_served_in_time(tmp_path: Path) -> None:
    deadline_s = 3.0
    log = tmp_path / "log"
    settings = {"GPEN_LOG_LEVEL": "info", "GPEN_REQUEST_TIMEOUT_S": str(deadline_s)}
    with serving(log, GPEN_MODEL=MODEL, **settings) as server:
        result = asyncio.run(
            overload(
                Address.of(server.url),
                server.process.pid,
                deadline_s=deadline_s,
                faces=8,
                seconds=6,
                rounds=1,
                probe_s=3,
                clients=(4,),
                bounds=OverloadBounds(goodput=0.4, late=0.2, refusal_p95_s=0.5, health_p95_s=0.5),
            )
        )
    assert not result.violations, result.text()
    assert not traces(log)


@pytest.mark.timeout(300)
def test_half_open_connections_are_closed_and_nobody_waits_for_them(tmp_path: Path) -> None:
    deadline_s = 3.0
    log = tmp_path / "log"
    settings = {"GPEN_LOG_LEVEL": "info", "GPEN_REQUEST_TIMEOUT_S": str(deadline_s)}
    with serving(log, GPEN_MODEL=MODEL, **settings) as server:
        result = asyncio.run(
            half_open(
                Address.of(server.url),
                deadline_s=deadline_s,
                faces=8,
                count=100,
                idle=50,
                rounds=1,
                most=3,
            )
        )
    assert not result.violations, result.text()
    assert not traces(log)
    assert result.good.among.count > 5


@pytest.mark.timeout(300)
def test_a_body_without_end_is_refused_at_the_limit(server: Server) -> None:
    result = asyncio.run(
        huge_body(
            Address.of(server.url),
            server.process.pid,
            size=60_000_000,
            faces=8,
            rounds=1,
            round_s=3,
            most=3,
        )
    )
    assert not result.violations, result.text()
    assert result.uploads > 1
    assert result.good.among.count > 5
