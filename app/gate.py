"""The first gate of ``POST /enhance``: what a request must pass before its work begins."""

from __future__ import annotations

import asyncio
import math

from fastapi.routing import APIRoute
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admission import Visit
from app.body import check_form, check_length, pieces, read_form
from app.deadline import Deadline
from app.errors import InvalidRequest, ServiceError
from app.problems import problem_response
from app.service import Service
from app.settings import Settings
from app.text import printable

_TAKING_S = 120.0  # for a client to receive its answer
_SLICE = 256 * 1024  # bytes of an answer that are handed on at a time


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
    passes, or the client goes away, whatever is done for the request is cancelled.  The deadline is
    left in the request's state.
    """

    def __init__(self, app: ASGIApp, max_body: int, timeout_s: float) -> None:
        self.app = app
        self.max_body = max_body
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send)
        try:
            await self._admit(scope, receive, answer)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except ServiceError as error:
            await problem_response(Request(scope), error)(scope, receive, answer)

    async def _admit(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        service: Service = scope["app"].state.service
        headers = Headers(scope=scope)
        deadline = Deadline(_timeout(headers, self.timeout_s))
        service.serving()
        _check_query(scope)
        boundary = check_form(headers)
        declared = int(headers.get("content-length", 0))
        check_length(declared, self.max_body)
        service.admission.check(declared, deadline)
        scope["state"]["deadline"] = deadline
        with service.admission.visit() as visit:
            try:
                async with asyncio.timeout(deadline.seconds) as limit:
                    form = [await read_form(receive, boundary, self.max_body, visit.receive)]
                    visit.start(deadline)
                    answer.ends(visit, limit)
                    await _while_wanted(self.app, scope, form, receive, answer)
            except TimeoutError as error:
                if not answer.started:
                    raise deadline.error() from error
            finally:
                answer.ends(None, None)
                deadline.end()  # threads that still work for this request stop at their next step


class _Answer:
    """A ``send`` that knows whether the answer has begun, and what then ends.

    The work of a visit is over with the first byte; the rest of its time is the client's, to take
    the answer in.  A body is sent in slices: the server waits between them until the client has
    taken some, and so we learn whether it does.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._visit: Visit | None = None
        self._limit: asyncio.Timeout | None = None
        self.started = False

    def ends(self, visit: Visit | None, limit: asyncio.Timeout | None) -> None:
        """From now on the answer, as it begins, finishes ``visit`` and moves ``limit``."""
        self._visit, self._limit = visit, limit

    async def __call__(self, message: Message) -> None:
        if not self.started:
            self.started = True
            self._finish(message["status"])
        body = message.get("body", b"")
        if self._visit is not None:
            self._visit.hold(len(body))
        for start in range(0, len(body) - _SLICE, _SLICE):
            part = body[start : start + _SLICE]
            await self._send({"type": message["type"], "body": part, "more_body": True})
        if len(body) > _SLICE:
            message = {**message, "body": body[(len(body) - 1) // _SLICE * _SLICE :]}
        await self._send(message)

    def _finish(self, status: int) -> None:
        if self._visit is not None and self._limit is not None:
            self._visit.finish(served=status < 400)
            self._limit.reschedule(asyncio.get_running_loop().time() + _TAKING_S)


async def _while_wanted(
    app: ASGIApp, scope: Scope, bodies: list[bytes], receive: Receive, answer: _Answer
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
        await app(scope, receive_again, answer)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        if not answer.started:
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
    """Seconds.  Raises InvalidRequest when the caller's header is nonsense."""
    given = headers.get("x-request-timeout")
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequest("X-Request-Timeout: must be a positive number of seconds")
    return min(seconds, most)
