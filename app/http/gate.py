"""The gate of ``POST /enhance``: all that happens to a request before its work begins."""

from __future__ import annotations

import asyncio
import logging
import math

from fastapi.routing import APIRoute
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.deadline import Deadline
from app.errors import InvalidRequest, ServiceError
from app.http.body import check_form, check_length, pieces, read_form
from app.http.delivery import Delivery
from app.http.problems import problem_response
from app.serving.service import Service
from app.text import printable

log = logging.getLogger(__name__)

_SHORTEST_S = 0.001  # the shortest deadline that a client may set


class GatedRoute(APIRoute):
    """Admits requests, reads their bodies, and enforces their deadlines.

    Before the first byte of a body is read, it checks whether the service is serving, what the
    headers say about the body, and how many requests are in flight.  The deadline begins here and
    includes reading the body.  If it passes, or the client disconnects, all work for the request is
    cancelled.  The request's state holds its :class:`app.serving.admission.Visit`.

    The gate is part of the route, so that it cannot be bypassed, whatever path has matched.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)  # 405
            return
        try:
            await _admit(super().handle, scope, receive, send)
        except ClientDisconnect:
            pass  # nobody would receive an answer
        except ServiceError as error:
            await problem_response(Request(scope), error)(scope, receive, send)


async def _admit(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the application on an admitted request.  Raises ServiceError, ClientDisconnect."""
    service: Service = scope["app"].state.service
    settings = service.settings
    headers = Headers(scope=scope)
    deadline = Deadline(_timeout(headers, settings.request_timeout_s))
    service.serving()
    _check_query(scope)
    boundary = check_form(headers)
    declared = int(headers.get("content-length", 0))
    check_length(declared, settings.max_body_bytes)
    delivery: Delivery | None = None
    with service.admission.visit(declared, deadline) as visit:
        scope["state"]["visit"] = visit
        try:
            async with asyncio.timeout(deadline.seconds) as limit:
                form = [await read_form(receive, boundary, settings.max_body_bytes, visit.receive)]
                visit.complete()
                service.metrics.upload_seconds.observe(visit.upload_seconds)
                delivery = Delivery(
                    send,
                    scope["app"].state.answers,
                    limit,
                    on_start=lambda status: visit.finish(served=status < 400),
                )
                await _while_wanted(app, scope, form, receive, delivery)
        except TimeoutError as error:
            if delivery is None or not delivery.started:
                raise deadline.error() from error
            log.info("an answer was cut off because the client received it too slowly")
        finally:
            if delivery is not None:
                delivery.end()
            deadline.end()  # threads that still work for it stop before their next step


async def _while_wanted(
    app: ASGIApp, scope: Scope, bodies: list[bytes], receive: Receive, delivery: Delivery
) -> None:
    """Run the application on a body; cancel it if the client disconnects before its answer begins.

    The body is removed from ``bodies``, so that its memory is released when it has been parsed.  It
    is passed on in pieces, between which the event loop runs other tasks, because a form can be
    constructed that takes seconds to parse.  Raises ClientDisconnect.
    """
    gone = asyncio.Event()
    body = pieces(bodies.pop())
    ended = False

    async def receive_again() -> Message:
        nonlocal ended
        if not ended:
            piece = next(body, None)
            ended = piece is None
            await asyncio.sleep(0)
            return {"type": "http.request", "body": piece or b"", "more_body": not ended}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def run() -> None:
        await app(scope, receive_again, delivery)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        delivery.gone = True
        if not delivery.started:
            work.cancel()

    work = asyncio.create_task(run())
    watching = asyncio.create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        if gone.is_set():
            raise ClientDisconnect from None
        raise
    finally:
        watching.cancel()


def _check_query(scope: Scope) -> None:
    """Raise InvalidRequest if there is a query string, in which somebody may have put options."""
    names = list(QueryParams(scope["query_string"]))
    if names:
        first = printable(names[0][:40])
        raise InvalidRequest(
            f"Options are fields of the form, like the file; the query string has {first!r}."
        )


def _timeout(headers: Headers, most: float) -> float:
    """The seconds until the deadline.  Raises InvalidRequest for an unusable X-Request-Timeout."""
    given = headers.get("x-request-timeout")
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST_S <= seconds < math.inf:
        raise InvalidRequest(
            f"X-Request-Timeout: must be a number of seconds, at least {_SHORTEST_S:g}"
        )
    return min(seconds, most)
