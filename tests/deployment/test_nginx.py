"""Two replicas behind the load balancer: they come, go and fill up, and no client sees it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest

from app.settings import Settings
from tests.conftest import free_port
from tests.deployment.balanced import (
    REQUEST_TIMEOUT_S,
    Balancer,
    Line,
    Replica,
    balancing,
)
from tests.soak.client import Answer, End, Message, Pool, ask, form, message
from tests.soak.kinds import judge
from tests.soak.photos import Photo, kinds_of_faces, photos_of
from tests.soak.scenarios import MODEL, traces

pytestmark = pytest.mark.deployment

_QUEUE = 8
_CLIENTS = 3
_PAUSE_S = 0.3  # between a client's requests: a replica that starts needs the processor, too
_SAMPLE = 12  # requests

Pair = tuple[Balancer, Replica, Replica]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("replicas")
    settings = {
        "GPEN_MODEL": MODEL,
        "GPEN_LOG_LEVEL": "info",
        "GPEN_MAX_BATCH": "2",
        "GPEN_QUEUE_FACES": str(_QUEUE),
        "GPEN_MAX_FACES": str(_QUEUE),
        "GPEN_REQUEST_TIMEOUT_S": str(REQUEST_TIMEOUT_S),
        "GPEN_DRAIN_S": "2",
    }
    one, other = (Replica(folder, name, settings) for name in ("one", "other"))
    try:
        one.start()
        other.start()
        asyncio.run(_both_ready(one, other))
        with balancing(folder, [one.name, other.name]) as balancer:
            yield balancer, one, other
    finally:
        one.stop()
        other.stop()


@pytest.fixture(scope="module")
def photos(pair: Pair) -> list[Photo]:
    """With what must come back for each of them."""
    return asyncio.run(photos_of(pair[1].address, kinds_of_faces(8, [160])))


async def _both_ready(one: Replica, other: Replica) -> None:
    await asyncio.gather(one.ready(), other.ready())


@pytest.mark.timeout(600)
def test_a_full_replica_is_passed_over_and_two_full_ones_say_503(
    pair: Pair, photos: list[Photo]
) -> None:
    asyncio.run(_fill(*pair, photos))


async def _fill(balancer: Balancer, one: Replica, other: Replica, photos: list[Photo]) -> None:
    async with _full(one, photos):
        before = len(balancer.lines())
        for photo in photos:
            assert judge(photo, await ask(balancer.address, photo.message)) is None
        lines = await _lines(balancer, before, len(photos))
        assert all(line.replicas[-1] == other.name for line in lines)
        assert any((line.replicas[0], line.statuses[0]) == (one.name, "503") for line in lines)
        async with _full(other, photos):
            before = len(balancer.lines())
            for photo in photos:
                answer = await ask(balancer.address, photo.message)
                problem = _problem(answer, 503)
                assert problem["type"] in {
                    "urn:gpen:problem:queue-full",
                    "urn:gpen:problem:overloaded",
                }
                assert int(answer.headers["retry-after"]) >= 1
            for line in await _lines(balancer, before, len(photos)):
                assert sorted(line.replicas) == sorted([one.name, other.name])
                assert line.statuses == ["503", "503"]


@asynccontextmanager
async def _full(replica: Replica, photos: list[Photo]) -> AsyncIterator[None]:
    """Within, it refuses, as what it has let in does not get on; then all of that is restored."""
    supply = cycle(photos)
    waiting: list[asyncio.Task[tuple[Photo, Answer]]] = []

    async def send(photo: Photo) -> tuple[Photo, Answer]:
        return photo, await ask(replica.address, photo.message)

    with replica.held():
        while not any(task.done() and task.result()[1].status == 503 for task in waiting):
            waiting.append(asyncio.create_task(send(next(supply))))
            await asyncio.sleep(0.1)
            assert len(waiting) < 10 * _QUEUE
        yield
    served = [(p, a) for p, a in await asyncio.gather(*waiting) if a.status != 503]
    assert len(served) >= _QUEUE
    assert [judge(photo, answer) for photo, answer in served] == [None] * len(served)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_kill_and_a_drain_that_no_client_sees(pair: Pair, photos: list[Photo]) -> None:
    asyncio.run(_replace(*pair, photos))


async def _replace(balancer: Balancer, one: Replica, other: Replica, photos: list[Photo]) -> None:
    async with _load(balancer, photos):
        await _evens_out(balancer, one, other)

        before = len(balancer.lines())
        with one.held():
            await asyncio.sleep(1)  # some are in its hands now
            one.process.kill()
            one.process.wait()
        lines = await _lines(balancer, before, _SAMPLE)
        assert any((line.replicas[0], line.statuses[0]) == (one.name, "502") for line in lines)
        one.start()
        await one.ready()
        await _evens_out(balancer, one, other)

        other.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(other.process.wait, 60) == 0
        other.start()
        await other.ready()
        await _evens_out(balancer, one, other)
    assert not traces(one.log) + traces(other.log)


@asynccontextmanager
async def _load(balancer: Balancer, photos: list[Photo]) -> AsyncIterator[None]:
    """Clients that send photos all the while, and are all served well."""
    supply = cycle(photos)
    pool = Pool(balancer.address)
    ended = asyncio.Event()
    faults: list[str] = []

    async def client() -> None:
        while not ended.is_set():
            photo = next(supply)
            answer = await pool.ask(photo.message)
            if (fault := judge(photo, answer)) is not None or answer.status != 200:
                faults.append(f"{answer.label}: {fault} {answer.body[:200]!r}")
            await asyncio.sleep(_PAUSE_S)

    clients = [asyncio.create_task(client()) for _ in range(_CLIENTS)]
    try:
        yield
    finally:
        ended.set()
        await asyncio.gather(*clients)
        await pool.close()
    assert not faults, balancer.log.read_text()[-4000:]


async def _evens_out(balancer: Balancer, one: Replica, other: Replica) -> None:
    """Wait until each serves its share of the load: one that has just started may be slow."""
    async with asyncio.timeout(120):
        while True:
            lines = await _lines(balancer, len(balancer.lines()), _SAMPLE)
            served = Counter(line.replicas[-1] for line in lines)
            if all(served[replica.name] >= 0.3 * len(lines) for replica in (one, other)):
                return


async def _lines(balancer: Balancer, before: int, count: int) -> list[Line]:
    """What was logged since, so many at least; the client may have its answer a moment before."""
    async with asyncio.timeout(60):
        while True:
            if len(lines := balancer.lines()[before:]) >= count:
                return lines
            await asyncio.sleep(0.02)


async def _line_of(balancer: Balancer, status: int) -> Line:
    async with asyncio.timeout(10):
        while True:
            for line in balancer.lines():
                if line.status == status:
                    return line
            await asyncio.sleep(0.02)


@pytest.mark.timeout(600)
def test_the_balancer_takes_what_the_service_takes(pair: Pair) -> None:
    settings = Settings()
    balancer = pair[0]
    largest = form(bytes(settings.max_upload_bytes))
    assert len(largest.body) <= settings.max_body_bytes
    answer = asyncio.run(ask(balancer.address, largest))
    assert _problem(answer, 415)["title"]  # said by a replica: it is no picture
    body = bytes(settings.max_body_bytes + 1)
    answer = asyncio.run(ask(balancer.address, message("POST", "/enhance", body)))
    assert str(settings.max_body_bytes) in _problem(answer, 413)["detail"]
    assert asyncio.run(_line_of(balancer, 413)).replicas == []  # nor was it sent on


@pytest.mark.timeout(600)
def test_a_refusal_in_the_middle_of_a_body_arrives(pair: Pair) -> None:
    """The service refuses large bodies unread, and closes; that is no broken replica."""
    large = form(bytes(10_000_000), headers={"X-Request-Timeout": "soon"})
    for _ in range(5):
        answer = asyncio.run(ask(pair[0].address, large))
        assert "X-Request-Timeout" in _problem(answer, 422)["detail"]


@pytest.mark.timeout(600)
def test_requests_keep_their_ids(pair: Pair) -> None:
    balancer = pair[0]
    health = message("GET", "/health")
    given = asyncio.run(ask(balancer.address, health.with_header("X-Request-ID", "mine.1")))
    assert given.headers["x-request-id"] == "mine.1"
    other = asyncio.run(ask(balancer.address, health.with_header("X-Request-ID", "not {mine}")))
    assert other.headers["x-request-id"] not in ("", "not {mine}")


def test_without_a_replica_it_is_503_too(tmp_path: Path) -> None:
    nobody = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    photo = form(b"photo", headers={"X-Request-ID": "mine"})
    with balancing(tmp_path, nobody) as balancer:
        for sent, status in ((photo, 503), (_get("/metrics"), 404)):
            answer = asyncio.run(ask(balancer.address, sent))
            assert _problem(answer, status)["request_id"] == answer.headers["x-request-id"]
            assert ("retry-after" in answer.headers) is (status == 503)


def test_what_the_balancer_itself_refuses_is_a_problem(tmp_path: Path) -> None:
    sent = {
        400: message("GET", "/health", headers={"X-Long": "x" * 40_000}),
        405: message("TRACE", "/health"),
        414: message("GET", "/" + "x" * 40_000),
    }
    with balancing(tmp_path, [f"127.0.0.1:{free_port()}"]) as balancer:
        for status, refused in sent.items():
            _problem(asyncio.run(ask(balancer.address, refused)), status)


def _get(path: str) -> Message:
    return message("GET", path)


def _problem(answer: Answer, status: int) -> dict[str, str]:
    assert (answer.end, answer.status) == (End.COMPLETE, status), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, str] = json.loads(answer.body)
    assert problem.keys() == {"type", "title", "status", "detail", "request_id"}
    return problem
