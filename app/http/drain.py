"""SIGTERM: first say so on ``/health``, so that the load balancer turns away; close later.

Every answer from then on closes its connection, so that the client makes a new one, elsewhere: who
still had an open one at the end could lose the request that is on its way when we close it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.serving.service import Service
from app.status import Status

log = logging.getLogger(__name__)


class CloseWhileDraining:
    """Adds ``Connection: close`` to every answer once the service drains or has failed."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                service: Service | None = getattr(scope["app"].state, "service", None)
                if service and service.status in (Status.DRAINING, Status.FAILED):
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self.app(scope, receive, send_closing if scope["type"] == "http" else send)


@contextmanager
def sigterm_drains(seconds: float, drain: Callable[[], None]) -> Iterator[None]:
    """Within, SIGTERM calls ``drain``, and the server's own handler only ``seconds`` later.

    That one closes the listener, waits for what is in flight, and ends.  A second SIGTERM does not
    wait.  To be entered on the event loop; where another thread than the main one runs it, signals
    are somebody else's, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)
    draining = False

    def close(number: int, frame: FrameType | None) -> None:
        if callable(before):
            before(number, frame)
        else:  # nobody's: end as a process without handlers would
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        nonlocal draining
        if draining:
            close(number, frame)
            return
        draining = True
        log.info("SIGTERM: still serving for %g s", seconds)
        drain()
        loop.call_soon_threadsafe(loop.call_later, seconds, close, number, frame)

    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
