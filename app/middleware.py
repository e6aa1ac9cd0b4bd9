"""Pure ASGI middleware: what happens to a request before its body is read."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import CLIENT_GONE, Metrics

log = logging.getLogger(__name__)

ENHANCE = "/enhance"
_UNKNOWN = "unknown"  # for paths that are no routes: theirs are without number
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
    but the id, which :class:`RequestId` has checked.  A client that goes away, or is cut off,
    before its answer is complete is a 499, as nginx has it.  The time is the service's own, from
    the last byte of the request to the first of its answer.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), CLIENT_GONE
        end: float | None = None
        complete = False

        async def send_noting(message: Message) -> None:
            nonlocal status, end, complete
            if message["type"] == "http.response.start":
                status, end = message["status"], time.perf_counter()
            elif not message.get("more_body"):
                complete = True
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        except Exception:
            status = 500 if status == CLIENT_GONE else status  # what the server says then
            raise
        else:
            status = status if complete else CLIENT_GONE
        finally:
            visit = scope["state"].get("visit")
            start = start if visit is None else visit.completed
            self._note(scope, status, (end or time.perf_counter()) - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or _route(scope["path"])
        state = scope["state"]
        problem = state.get("problem")
        self.metrics.observe_request(route, status, seconds, problem)
        log.log(
            logging.DEBUG if is_routine(scope) else logging.INFO,
            "%s %d%s %.0f ms, request %s",
            route,
            status,
            f" {problem}" if problem else "",
            seconds * 1000,
            state["request_id"],
        )


def is_probe(path: str) -> bool:
    """Whether this is ``/health`` or below it."""
    return path == "/health" or path.startswith("/health/")


def is_routine(scope: MutableMapping[str, Any]) -> bool:
    """Probes and scrapes, of which there are many and none is of interest."""
    return is_probe(scope["path"]) or scope["path"] == "/metrics"


def _route(path: str) -> str:
    """The route of a request that was answered before it got there."""
    return path if path == ENHANCE else _UNKNOWN
