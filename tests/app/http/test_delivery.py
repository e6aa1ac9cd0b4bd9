"""Answers on their way: in slices, counted, and cut off where nobody takes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.http import delivery
from app.http.delivery import Answers, Delivery

SIZE = 1_000_000


def start(size: int = SIZE) -> Message:
    headers = [(b"content-length", str(size).encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def body(size: int = SIZE) -> Message:
    return {"type": "http.response.body", "body": bytes(range(250)) * (size // 250)}


@dataclass
class Client:
    """Takes slices as fast as ``pace`` lets it."""

    pace: Callable[[], Awaitable[object]] = field(default=lambda: asyncio.sleep(0))
    parts: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await self.pace()
            self.parts.append(message)

    @property
    def received(self) -> bytes:
        return b"".join(part["body"] for part in self.parts)


def delivered(client: Client, answers: Answers, statuses: list[int]) -> asyncio.Task[bool]:
    """A task: whether all was delivered before its time limit."""

    async def deliver() -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20) as limit:
                send = Delivery(client.send, answers, limit, statuses.append)
                try:
                    await send(start())
                    await send(body())
                    return True
                finally:
                    send.end()
        return False

    return asyncio.create_task(deliver())


def test_a_large_answer_is_whole_and_counted_until_it_is_taken() -> None:
    async def test() -> None:
        answers, statuses = Answers(10 * SIZE), list[int]()
        taken = asyncio.Event()
        client = Client(taken.wait)
        task = delivered(client, answers, statuses)
        await asyncio.sleep(0.05)
        assert statuses == [200]
        assert answers.bytes == SIZE
        taken.set()
        assert await task
        assert answers.bytes == 0
        assert client.received == body()["body"]
        assert len(client.parts) > 4
        assert [part.get("more_body", False) for part in client.parts][-2:] == [True, False]

    asyncio.run(test())


def test_a_small_answer_goes_as_it_is() -> None:
    async def test() -> None:
        client = Client()
        async with asyncio.timeout(5) as limit:
            send = Delivery(client.send, Answers(1), limit, lambda _status: None)
            await send(start(1000))
            await send(body(1000))
        assert client.parts == [body(1000)]

    asyncio.run(test())


def test_an_answer_in_pieces_is_counted_until_its_last_is_taken() -> None:
    async def test() -> None:
        answers, client = Answers(10 * SIZE), Client()
        async with asyncio.timeout(5) as limit:
            send = Delivery(client.send, answers, limit, lambda _status: None)
            await send(start(2 * SIZE + 1000))
            for _ in range(2):
                await send({**body(), "more_body": True})
                assert answers.bytes == 2 * SIZE + 1000
            await send(body(1000))
        assert answers.bytes == 0
        assert client.received == 2 * body()["body"] + body(1000)["body"]
        assert not client.parts[-1].get("more_body", False)

    asyncio.run(test())


def test_who_goes_in_the_middle_is_noticed() -> None:
    async def test() -> None:
        client = Client()
        async with asyncio.timeout(5) as limit:
            send = Delivery(client.send, Answers(SIZE), limit, lambda _status: None)
            await send(start())
            send.gone = True
            with pytest.raises(ClientDisconnect):
                await send(body())
        assert 0 < len(client.received) < SIZE

    asyncio.run(test())


def test_steady_clients_have_all_the_time_that_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work's time limit is over, and so is the answer's grace; one client stands still."""
    monkeypatch.setattr(delivery, "_GRACE_S", 0.3)
    monkeypatch.setattr(delivery, "LEAST_RATE", 1_000_000)

    async def test() -> None:
        answers = Answers(10 * SIZE)
        steady = Client(lambda: asyncio.sleep(0.2))  # 1.3 MB/s
        standing = Client(asyncio.Event().wait)
        tasks = [delivered(client, answers, []) for client in (steady, standing)]
        assert await asyncio.gather(*tasks) == [True, False]
        assert answers.bytes == 0

    asyncio.run(test())


def test_when_there_are_too_many_bytes_the_slowest_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "_YOUNG_S", 0.2)

    async def test() -> None:
        answers = Answers(2 * SIZE)
        quicker = Client(lambda: asyncio.sleep(0.15))
        slower = Client(lambda: asyncio.sleep(0.6))
        tasks = [delivered(client, answers, []) for client in (slower, quicker)]
        await asyncio.sleep(0.4)
        tasks.append(delivered(Client(), answers, []))
        assert await asyncio.gather(*tasks) == [False, True, True]
        assert answers.bytes == 0

    asyncio.run(test())
