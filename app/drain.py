"""SIGTERM: first say so on ``/health``, so that the load balancer turns away; close later."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)


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
