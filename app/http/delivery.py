"""Sends answers to clients, which may be slow, but not without limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

LEAST_RATE = 4096
"""Bytes per second that a client must receive on average."""
_SLICE = 256 * 1024  # bytes of an answer that are sent at a time
_GRACE_S = 60.0  # seconds from the start of an answer until its rate matters
_YOUNG_S = 5.0  # seconds during which an answer is not cut off for others


class Answers:
    """Counts the bytes of large answers until clients have received them.

    Over ``limit`` bytes, the slowest answer is cut off, so that a few clients that read slowly can
    neither fill the memory nor keep others out.  To be used on the event loop only; no locks.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._sizes: dict[Delivery, int] = {}

    def hold(self, delivery: Delivery, size: int) -> None:
        """Count ``size`` bytes of an answer until :meth:`release`."""
        self.bytes += size
        self._cut_the_slowest()
        self._sizes[delivery] = size

    def release(self, delivery: Delivery) -> None:
        """Stop counting an answer.  Does nothing for one that is not counted."""
        self.bytes -= self._sizes.pop(delivery, 0)

    def _cut_the_slowest(self) -> None:
        remaining = self.bytes - sum(size for each, size in self._sizes.items() if each.is_cut)
        for delivery in sorted(self._sizes, key=lambda each: each.rate):
            if remaining <= self.limit:
                return
            if delivery.seconds > _YOUNG_S and not delivery.is_cut:
                delivery.cut()
                remaining -= self._sizes[delivery]


class Delivery:
    """An ASGI ``send`` that sends a large answer in slices, as fast as its client receives them.

    A large answer, by its Content-Length, is counted in ``answers`` until it has been received or
    :meth:`end` is called.  ``limit`` is the request's time limit: until the answer begins, for the
    work; then for the client.  ``on_start`` is called with the status when the answer begins.
    """

    def __init__(
        self,
        send: Send,
        answers: Answers,
        limit: asyncio.Timeout,
        on_start: Callable[[int], None],
    ) -> None:
        self.started = False
        self.gone = False
        """Whether the client has disconnected."""
        self.is_cut = False
        self._send = send
        self._answers = answers
        self._limit = limit
        self._on_start = on_start
        self._began = 0.0
        self._sent = 0
        self._is_large = False

    @property
    def seconds(self) -> float:
        """Seconds since the answer began."""
        return asyncio.get_running_loop().time() - self._began

    @property
    def rate(self) -> float:
        """Bytes per second that the client has received so far."""
        return self._sent / max(self.seconds, 1e-3)

    def end(self) -> None:
        """Stop counting the answer.  Further calls do nothing."""
        self._answers.release(self)

    def cut(self) -> None:
        """End the delivery immediately, as if its time limit had passed."""
        self.is_cut = True
        self._limit.reschedule(asyncio.get_running_loop().time())

    async def __call__(self, message: Message) -> None:
        """Raises ClientDisconnect if the client leaves before it has received a large answer."""
        if not self.started:
            self.started = True
            self._began = asyncio.get_running_loop().time()
            self._extend()
            self._on_start(message["status"])
            size = int(Headers(raw=message["headers"]).get("content-length", 0))
            self._is_large = size > _SLICE
            if self._is_large:
                self._answers.hold(self, size)
        body = message.get("body", b"")
        if not (self._is_large and body):
            await self._send(message)
            return
        for start in range(0, len(body), _SLICE):
            await self._send_part(body[start : start + _SLICE])
        if message.get("more_body", False):
            return
        # a server waits for its buffers before it sends; so this waits for most of the last slice
        await self._send_part(b"")
        self.end()
        await self._send({**message, "body": b""})

    async def _send_part(self, part: bytes) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        self._sent += len(part)
        self._extend()
        await asyncio.sleep(0)  # lets the task run that notices a disconnect
        if self.gone:
            raise ClientDisconnect

    def _extend(self) -> None:
        if not self.is_cut:
            self._limit.reschedule(self._began + _GRACE_S + self._sent / LEAST_RATE)
