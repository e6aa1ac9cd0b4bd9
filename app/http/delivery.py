"""Answers on their way to clients, who may take their time, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from app.serving.outgoing import Answers

LEAST_RATE = 4096
"""Bytes a second at which an answer must be taken, on average."""
_SLICE = 256 * 1024  # bytes of an answer that are handed on at a time
_GRACE_S = 60.0  # before an answer's rate matters, the first byte's way included


class Delivery:
    """A ``send`` that hands a large answer on in slices, as fast as its client takes them.

    How large it is, its Content-Length says: it is counted until it has been taken, or :meth:`end`
    is called, whether it comes as a whole or in pieces.
    ``limit`` is the request's time limit: the work's until the answer begins, then the client's.
    ``on_start`` is called with the status when the answer begins.
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
        """The client has gone."""
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
        """Since the answer began."""
        return asyncio.get_running_loop().time() - self._began

    @property
    def rate(self) -> float:
        """Bytes a second that the client has taken so far."""
        return self._sent / max(self.seconds, 1e-3)

    def end(self) -> None:
        """Nothing more is delivered.  Calling it again does no harm."""
        self._answers.release(self)

    def cut(self) -> None:
        """End the delivery at once, as its time limit does."""
        self.is_cut = True
        self._limit.reschedule(asyncio.get_running_loop().time())

    async def __call__(self, message: Message) -> None:
        """Raises ClientDisconnect when the client goes before it has taken a large answer."""
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
        # a server waits before it sends: with nothing, until the last slice is nearly taken
        await self._send_part(b"")
        self.end()
        await self._send({**message, "body": b""})

    async def _send_part(self, part: bytes) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        self._sent += len(part)
        self._extend()
        await asyncio.sleep(0)  # to hear of the client's going
        if self.gone:
            raise ClientDisconnect

    def _extend(self) -> None:
        if not self.is_cut:
            self._limit.reschedule(self._began + _GRACE_S + self._sent / LEAST_RATE)
