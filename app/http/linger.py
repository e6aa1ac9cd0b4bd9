"""Answers that come before the end of a request's body."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SMALL = 1024 * 1024  # bytes
_LINGER_S = 1.0
_PAUSE_S = 0.01


class CloseUnread:
    """Closes the connection when an answer comes before the end of the body.

    Left open, it would go on taking in what nobody wants: gigabytes, or a byte a minute.  Closed at
    once, with bytes on their way, it would be reset, and the client might never see its answer.  So
    for a moment the rest is read, slowly, and thrown away (nginx calls that a lingering close).

    A small body that was refused unread is cheaper to take in than a new connection is to make: in
    an overload, most requests are such.  The server throws it away as it comes, and has a time for
    that (:class:`app.http.connections.TimedConnection`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # who asks before sending is not sending, until we receive: nothing is on its way then
        waits = headers.get("expect", "").lower() == "100-continue"
        harmless = not waits and int(headers.get("content-length", _SMALL + 1)) <= _SMALL
        read = closing = False

        async def receive_noting() -> Message:
            nonlocal read, waits, harmless
            waits = harmless = False
            message = await receive()
            if not message.get("more_body", False):  # the last one, or a disconnect
                read = True
            return message

        async def send_closing(message: Message) -> None:
            nonlocal closing
            if message["type"] == "http.response.start" and not (read or harmless):
                closing = True
                MutableHeaders(scope=message)["Connection"] = "close"
            last = message["type"] == "http.response.body" and not message.get("more_body")
            if closing and last and not waits:
                await send({**message, "more_body": True})
                await _discard(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self.app(scope, receive_noting, send_closing)


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _discard(receive: Receive) -> None:
    """Read what still comes, for a moment; the pauses keep a fast sender slow."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while (await receive()).get("more_body", False):  # noqa: ASYNC110
                await asyncio.sleep(_PAUSE_S)
