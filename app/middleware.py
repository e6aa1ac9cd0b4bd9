"""Pure ASGI middleware: what happens to a request before its body is read."""

from __future__ import annotations

import logging
import re
import time
import uuid

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import InvalidForm, TooLarge
from app.metrics import Metrics
from app.problems import problem_response

log = logging.getLogger(__name__)

_UNKNOWN = "unknown"  # for paths that are no routes: theirs are without number
_ROUTINE = ("/health", "/metrics")
_TAIL = 256  # bytes: the last boundary, of 70 characters at most (RFC 2046), and what may follow
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestId:
    """Gives every request an id, the caller's own if it is harmless, and returns it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("X-Request-ID", request_id)
            await send(message)

        await self.app(scope, receive, send_with_id)


class ObserveRequests:
    """Counts, times and logs every request, by route and status.

    The log has a line a request, at debug for probes and scrapes; nothing of it is the caller's own
    but the id, which :class:`RequestId` has checked.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500  # if nothing is sent, the server says 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", _UNKNOWN)
            self.metrics.observe_request(route, status, seconds)
            level = logging.DEBUG if route.startswith(_ROUTINE) else logging.INFO
            request_id = scope["state"]["request_id"]
            log.log(level, "%s %d %.0f ms, request %s", route, status, seconds * 1000, request_id)


class BodyGuard:
    """Refuses a body over ``limit`` bytes, and a multipart form that breaks off.

    The length is checked at once if it is declared, and while the body comes in.  (The parser takes
    a form without its end for a complete one.)
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self.limit:
            response = problem_response(Request(scope), self._too_large())
            await response(scope, receive, send)
            return
        ending = _form_ending(headers.get("content-type", ""))
        received, tail = 0, b""

        async def receive_guarded() -> Message:
            nonlocal received, tail
            message = await receive()
            if message["type"] == "http.request":
                body = message.get("body", b"")
                received += len(body)
                if received > self.limit:
                    raise self._too_large()
                tail = (tail + body[-_TAIL:])[-_TAIL:]
                if not message.get("more_body", False) and ending not in tail:
                    raise InvalidForm("The multipart form breaks off.")
            return message

        await self.app(scope, receive_guarded, send)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self.limit} bytes.")


def _form_ending(content_type: str) -> bytes:
    """What a multipart body ends with; empty for other bodies, or without a boundary."""
    media_type, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary", b"") if media_type == b"multipart/form-data" else b""
    return b"--" + boundary + b"--" if boundary else b""
