"""The gate of ``POST /enhance``: what a request must pass before its work begins."""

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
from app.settings import Settings
from app.text import printable

log = logging.getLogger(__name__)

_SHORTEST_S = 0.001  # of a deadline that a caller may set: nothing is done in less


class GatedRoute(APIRoute):
    """A route behind the gate: whatever path the router has matched, there is no way around it."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)  # 405
            return
        settings: Settings = scope["app"].state.service.settings
        gate = Gate(super().handle, settings.max_body_bytes, settings.request_timeout_s)
        await gate(scope, receive, send)


class Gate:
    """Admits requests, reads their bodies, and holds them to their deadlines.

    Before the first byte of a body: whether the service is serving, what the body is said to be,
    who else is in flight.  The deadline runs from here; the body is read under it, and when it
    passes, or the client goes away, whatever is done for the request is cancelled.  The visit
    (:class:`app.serving.admission.Visit`) is left in the request's state.
    """

    def __init__(self, app: ASGIApp, max_body: int, timeout_s: float) -> None:
        self.app = app
        self.max_body = max_body
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._admit(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except ServiceError as error:
            await problem_response(Request(scope), error)(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        service: Service = scope["app"].state.service
        headers = Headers(scope=scope)
        deadline = Deadline(_timeout(headers, self.timeout_s))
        service.serving()
        _check_query(scope)
        boundary = check_form(headers)
        declared = int(headers.get("content-length", 0))
        check_length(declared, self.max_body)
        delivery: Delivery | None = None
        with service.admission.visit(declared, deadline) as visit:
            scope["state"]["visit"] = visit
            try:
                async with asyncio.timeout(deadline.seconds) as limit:
                    form = [await read_form(receive, boundary, self.max_body, visit.receive)]
                    visit.complete()
                    service.metrics.upload_seconds.observe(visit.upload_seconds)
                    delivery = Delivery(
                        send,
                        service.answers,
                        limit,
                        on_start=lambda status: visit.finish(served=status < 400),
                    )
                    await _while_wanted(self.app, scope, form, receive, delivery)
            except TimeoutError as error:
                if delivery is None or not delivery.started:
                    raise deadline.error() from error
                log.info(
                    "an answer was cut off, for it was taken too slowly, request %s",
                    scope["state"]["request_id"],
                )
            finally:
                if delivery is not None:
                    delivery.end()
                deadline.end()  # threads that still work for this request stop at their next step


async def _while_wanted(
    app: ASGIApp, scope: Scope, bodies: list[bytes], receive: Receive, delivery: Delivery
) -> None:
    """Run the application on a body; cancel it when the client goes before its answer begins.

    The body is taken out of ``bodies``, so that it is not kept while it is worked on.  It is handed
    on in pieces, between which the event loop turns to others: a form can be made such that parsing
    it takes seconds.  Raises ClientDisconnect when the client goes.
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
    """Raises InvalidRequest when somebody means options by a query string."""
    names = list(QueryParams(scope["query_string"]))
    if names:
        first = printable(names[0][:40])
        raise InvalidRequest(
            f"Options are fields of the form, beside the file; the query string has {first!r}."
        )


def _timeout(headers: Headers, most: float) -> float:
    """Seconds.  Raises InvalidRequest when the caller's header is no time to work in."""
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
