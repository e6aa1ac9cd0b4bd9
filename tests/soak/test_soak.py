"""The load test in short, and that it notices what it is there for."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Server, serving
from tests.soak.client import Address, Answer, End, form
from tests.soak.kinds import Crowd
from tests.soak.mixed import mixed
from tests.soak.photos import Album, Photo, Pixels, encoded, kinds_of_faces, photos_of
from tests.soak.scenarios import MODEL, traces

_MOST_MB = 1500


@pytest.mark.timeout(300)
def test_300_mixed_requests(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(log, GPEN_MODEL=MODEL, GPEN_LOG_LEVEL="info") as server:
        result = asyncio.run(
            mixed(
                Address.of(server.url),
                server.process.pid,
                requests=300,
                concurrency=6,
                growth_limit=2,  # so early, it still settles
                progress=False,
            )
        )
    assert not result.violations, result.text()
    assert not traces(log)
    assert result.last_mb is not None
    assert result.last_mb < _MOST_MB
    assert result.kinds["face"].labels["200"] > 100
    assert result.kinds["bad"].labels.keys() >= {"400", "404", "405", "413", "415", "422"}
    assert result.health.count > 10


def test_photos_that_are_not_their_own_are_noticed(server: Server) -> None:
    """Another's photo, another's face, a lost face, a touched background."""
    one, other = asyncio.run(photos_of(Address.of(server.url), kinds_of_faces(2, [160])))
    assert one.face is not None
    right = answer_of(one, one.expected)
    assert one.fault(right) is None
    assert "id" in (one.fault(answer_of(other, one.expected)) or "")
    assert "photo 0 came back as photo 1" in (one.fault(answer_of(one, other.expected)) or "")

    changed = one.expected.copy()
    changed[one.face] = other.expected[one.face]
    assert "the face is" in (one.fault(answer_of(one, changed)) or "")
    changed = one.expected.copy()
    changed[0, 0] ^= 1
    assert "outside" in (one.fault(answer_of(one, changed)) or "")
    no_face = replace(right, headers={**right.headers, "x-faces-restored": "0"})
    assert "0 faces" in (one.fault(no_face) or "")


def answer_of(photo: Photo, pixels: Pixels) -> Answer:
    headers = {
        "x-request-id": f"soak-{photo.number}",
        "x-faces-restored": "1",
        "content-type": "image/png",
    }
    return Answer(200, headers, encoded(pixels, "PNG"), 0.1, End.COMPLETE)


def test_a_server_that_loses_requests_is_noticed() -> None:
    """It closes every connection without a word."""

    async def visits() -> list[str | None]:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as deaf:
            host, port = deaf.sockets[0].getsockname()
            pixels = np.zeros((8, 8, 3), np.uint8)
            photo = Photo(0, form(bytes(100)), pixels, None, lossy=False)
            crowd = Crowd(Address(host, port), Album([photo]), Album([photo]), random.Random(0))
            return [(await visit()).fault for visit in crowd.kinds().values()]

    *others, vanishing, impatient = asyncio.run(visits())
    assert all(others)
    assert vanishing is None
    assert impatient is not None
