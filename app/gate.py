"""The first gate of ``POST /enhance``: what a request must pass before its work begins."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admission import Visit
from app.body import check_form, check_length, read_form
from app.deadline import Deadline
from app.errors import InvalidRequest, ServiceError
from app.middleware import ENHANCE
from app.problems import problem_response
from app.service import Service

_TAKING = 4  # deadlines: how long a client may take to receive its answer


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
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", ENHANCE):
            await self.app(scope, receive, send)
            return
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
        service.check_serving()
        boundary = check_form(headers)
        declared = int(headers.get("content-length", 0))
        check_length(declared, self.max_body)
        service.admission.check(declared, deadline)
        scope["state"]["deadline"] = deadline
        with service.admission.visit() as visit:
            try:
                async with asyncio.timeout(deadline.seconds) as limit:
                    form = await read_form(receive, boundary, self.max_body, visit.count)
                    visit.start(deadline)
                    answer.on_start = lambda: self._let_take(visit, limit)
                    await _while_wanted(self.app, scope, form, receive, answer)
            except TimeoutError as error:
                if not answer.started:
                    raise deadline.error() from error
            finally:
                answer.on_start = None
                deadline.end()  # threads that still work for this request stop at their next step

    def _let_take(self, visit: Visit, limit: asyncio.Timeout) -> None:
        """The work is done; the client may take its time to receive it, within reason."""
        visit.finish()
        limit.reschedule(asyncio.get_running_loop().time() + _TAKING * self.timeout_s)


class _Answer:
    """A ``send`` that knows whether the answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.on_start: Callable[[], None] | None = None

    async def __call__(self, message: Message) -> None:
        if not self.started:
            self.started = True
            if self.on_start is not None:
                self.on_start()
        await self._send(message)


async def _while_wanted(
    app: ASGIApp, scope: Scope, body: bytes, receive: Receive, answer: _Answer
) -> None:
    """Run the application on a body; cancel it when the client goes before its answer begins.

    Raises ClientDisconnect then.
    """
    bodies, gone = [body], asyncio.Event()

    async def receive_again() -> Message:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        if not answer.started:
            work.cancel()

    work = asyncio.ensure_future(app(scope, receive_again, answer))
    watching = asyncio.create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        if gone.is_set():
            raise ClientDisconnect from None
        raise
    finally:
        watching.cancel()


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
