"""The kinds of clients that a service meets, good and bad."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.soak.bad import bad_requests, problem_fault, refusal_fault
from tests.soak.client import PATIENCE_S, Address, Answer, End, Message, ask, connected
from tests.soak.photos import Album, Photo

_IMPATIENT_S = 0.3
_DRIBBLE_S = (1.0, 2.0)
_PIECES = 10
_WAIT_S = (0.0, 0.2)  # of those that leave after the body


@dataclass(frozen=True)
class Visit:
    """What came of one client's request."""

    kind: str
    label: str
    seconds: float
    fault: str | None


@dataclass
class Crowd:
    """All clients, with what they send."""

    address: Address
    faces: Album
    nobody: Album
    random: random.Random

    def kinds(self) -> dict[str, Callable[[], Awaitable[Visit]]]:
        return {
            "face": self.face,
            "no face": self.no_face,
            "bad": self.bad,
            "slow": self.slow,
            "vanishing": self.vanishing,
            "impatient": self.impatient,
        }

    async def face(self) -> Visit:
        async with _out_of(self.faces) as photo:
            return _judged("face", photo, await ask(self.address, photo.message))

    async def no_face(self) -> Visit:
        async with _out_of(self.nobody) as photo:
            return _judged("no face", photo, await ask(self.address, photo.message))

    async def bad(self) -> Visit:
        """A 503 is none of its own faults, but may be the service's state."""
        bad = self.random.choice(bad_requests())
        answer = await ask(self.address, bad.message)
        fault = problem_fault(answer) if answer.status == 503 else bad.fault(answer)
        return Visit("bad", answer.label, answer.seconds, fault)

    async def slow(self) -> Visit:
        """A body that dribbles in."""
        async with _out_of(self.faces) as photo:
            pause = self.random.uniform(*_DRIBBLE_S) / _PIECES
            try:
                answer = await dribble(self.address, photo.message, _PIECES, pause)
            except OSError:
                return Visit("slow", End.REFUSED, 0.0, "no connection")
            return _judged("slow", photo, answer)

    async def vanishing(self) -> Visit:
        """A client that goes away in the middle of its body, or while it waits."""
        half = self.random.random() < 0.5
        async with _out_of(self.faces) as photo:
            body = photo.message.body
            try:
                async with connected(self.address) as connection:
                    connection.send(photo.message.head)
                    connection.send(body[: len(body) // 2] if half else body)
                    await asyncio.sleep(self.random.uniform(*_WAIT_S))
                    connection.leave()
            except OSError:
                return Visit("vanishing", End.REFUSED, 0.0, "no connection")
        return Visit("vanishing", "left in body" if half else "left waiting", 0.0, None)

    async def impatient(self) -> Visit:
        async with _out_of(self.faces) as photo:
            answer = await ask(self.address, _with_timeout(photo.message))
        if answer.status == 200:
            return _judged("impatient", photo, answer)
        fault = refusal_fault(answer, (503, 504))
        return Visit("impatient", answer.label, answer.seconds, fault)


async def dribble(address: Address, message: Message, pieces: int, pause: float) -> Answer:
    """Send a body in pieces; stop when an answer comes before its end.  Raises OSError."""
    async with connected(address) as connection:
        connection.send(message.head)
        size = -(-len(message.body) // pieces)
        for start in range(0, len(message.body), size):
            connection.send(message.body[start : start + size])
            await asyncio.sleep(pause)
            if connection.answered.done():
                break
        return await connection.answer(PATIENCE_S)


def _with_timeout(message: Message) -> Message:
    """The same request under a deadline of the client's own."""
    return message.with_header("X-Request-Timeout", str(_IMPATIENT_S))


def judge(photo: Photo, answer: Answer) -> str | None:
    """What is wrong with the answer to a good request, or None."""
    return photo.fault(answer) if answer.status == 200 else refusal_fault(answer, (503,))


def _judged(kind: str, photo: Photo, answer: Answer) -> Visit:
    fault = judge(photo, answer) if answer.end is End.COMPLETE else f"lost: {answer.end}"
    return Visit(kind, answer.label, answer.seconds, fault)


@asynccontextmanager
async def _out_of(album: Album) -> AsyncIterator[Photo]:
    photo = album.take()
    try:
        yield photo
    finally:
        album.give_back(photo)
