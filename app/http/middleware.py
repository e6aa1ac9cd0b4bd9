"""ASGI middleware that identifies, counts, times and logs requests."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.paths import ENHANCE, is_routine, route_path
from app.log import request_id as current_request_id
from app.serving.metrics import CLIENT_GONE, Metrics

log = logging.getLogger(__name__)

_UNKNOWN = "unknown"  # for all paths without a route, of which there is no end
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestId:
    """Gives every request an id, the client's own if it is harmless, and returns it.

    Log records about the request contain it, too (:data:`app.log.request_id`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        current_request_id.set(request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("X-Request-ID", request_id)
            await send(message)

        await self.app(scope, receive, send_with_id)


class ObserveRequests:
    """Counts, times and logs every request, by route and status.

    The log has one line per request, at level debug for probes and scrapes.  Nothing in it comes
    from the client but the id, which :class:`RequestId` has checked.  As JSON its values are
    separate fields.  A request whose client disconnects, or is cut off, before its answer is
    complete has status 499, as in nginx.  The time is the service's own: from the last byte of the
    request to the first byte of the answer.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, routine = route_path(scope), is_routine(scope)
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
            status = 500 if status == CLIENT_GONE else status  # which the server then sends
            raise
        else:
            status = status if complete else CLIENT_GONE
        finally:
            route = getattr(scope.get("route"), "path", None) or _route(path)
            level = logging.DEBUG if routine else logging.INFO
            visit = scope["state"].get("visit")
            start = start if visit is None else visit.completed
            self._note(scope["state"], route, status, (end or time.perf_counter()) - start, level)

    def _note(
        self, state: dict[str, Any], route: str, status: int, seconds: float, level: int
    ) -> None:
        """``state`` is the request's; it may hold its problem and its number of faces."""
        problem, faces = state.get("problem"), state.get("faces")
        self.metrics.observe_request(route, status, seconds, problem)
        fields = {
            "route": route,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "reason": problem,
            "faces": faces,
        }
        log.log(
            level,
            "%s %d%s %.0f ms",
            route,
            status,
            f" {problem}" if problem else "",
            seconds * 1000,
            extra={name: value for name, value in fields.items() if value is not None},
        )


def _route(path: str) -> str:
    """The route of a request that was answered before it was routed."""
    return path if path == ENHANCE else _UNKNOWN
