"""Closes connections whose request was answered before the end of its body."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SMALL = 1024 * 1024  # bytes
_LINGER_S = 1.0
_PAUSE_S = 0.01


class CloseUnread:
    """Closes the connection if an answer begins before the end of the body.

    An open connection would continue to receive a body that nobody needs: gigabytes, or a byte a
    minute.  If it were closed immediately, with bytes on their way, it would be reset and the
    client might never see the answer.  So for a moment the rest is read slowly and discarded, which
    nginx calls a lingering close.

    Receiving a small refused body is cheaper than making a new connection, and in an overload most
    requests are like that.  The server discards it as it arrives, within a time limit
    (:class:`app.http.connections.TimedConnection`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # a client that expects 100 Continue sends nothing until we receive
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
    """Read the rest for a moment, with pauses that slow a fast sender down."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while (await receive()).get("more_body", False):  # noqa: ASYNC110
                await asyncio.sleep(_PAUSE_S)
