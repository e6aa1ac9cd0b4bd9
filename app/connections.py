"""Connections whose other end does nothing."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 10.0
STALL_S = 30.0


class TimedConnection(H11Protocol):
    """uvicorn's, but it waits for nothing without end.

    uvicorn closes a connection that idles after an answer, but waits for ever for the first
    request, for headers that come a byte a minute (slowloris), and for a client that does not take
    its answer.  While a body comes in, and an answer is made, the gate keeps the time.
    """

    _timer: asyncio.TimerHandle | None = None
    _begun = False
    """Whether headers have begun to come."""
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._close_after(self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # nonsense after a request that was answered already
            self.transport.abort()
            return
        # a request whose headers are complete has its cycle by now; its task has not run yet
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif not self._begun:
            self._close_after(HEADERS_S)
            self._begun = True

    def send_400_response(self, msg: str) -> None:
        """For what is no HTTP; in the middle of a request there is no place for an answer to it."""
        if self.cycle is None or self.cycle.response_complete:
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():  # closing would wait until it is taken
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _close_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _stop_timer(self) -> None:
        self._begun = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
