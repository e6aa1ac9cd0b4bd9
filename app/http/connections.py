"""Connections whose other end does nothing, or sends without end."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import struct
import termios
from contextlib import suppress

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http.edge import MAX_HEADERS

log = logging.getLogger(__name__)

HEADERS_S = 10.0
STALL_S = 30.0
LEAST_RATE = 4096
"""Bytes a second that a client must take of its answers, while some wait for it."""
LAST_REQUEST_S = 1.0
"""Seconds, when the server ends, for a request that was sent before the client could know."""
_HEAD_BYTES = 64 * 1024
_CHUNKS = 250
"""Of any size; beyond, a body's chunks are to hold more than :data:`_CHUNK_BYTES` on average."""
_CHUNK_BYTES = 64
_CHUNK_FRAME = 8  # bytes around one: its size in a few digits, and two ends of lines
_PIPELINED = 16  # requests that may wait behind the one that is being answered


class TimedConnection(HttpToolsProtocol):
    """uvicorn's, but it waits for nothing without end, and keeps nothing without end.

    uvicorn closes a connection that idles after an answer, but waits for ever for the first
    request, for headers that come a byte a minute (slowloris), and for a client that does not take
    its answer.  (One that takes it slowly but steadily is served.)  While a body comes in, and an
    answer is made, the gate keeps the time, and bounds the body; headers, trailers and what
    surrounds chunks are bounded here.

    Each chunk and each header costs us about a microsecond, and the sender a few bytes: a body in
    chunks of one byte would cost a thousand times what a plain one does, on the event loop.  So
    their number is bounded, the chunks' by the bytes they hold.

    Upgrade requests are ignored, as RFC 9110, 7.8 allows (``curl --http2`` sends one).  The parser
    would take a body for the other protocol's.
    """

    _timer: asyncio.TimerHandle | None = None
    _begun = False
    """Whether headers, or the rest of a refused body, have begun to come."""
    _stalled: asyncio.TimerHandle | None = None
    _head_complete = _in_message = False
    _overhead = 0
    """Bytes of the current request that belong to no body."""
    _header_count = _chunk_count = _body_bytes = 0
    _ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._close_after(self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._overhead += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self.transport.is_closing():
            return
        if self._overhead > _HEAD_BYTES + self._body_bytes // _CHUNK_BYTES * _CHUNK_FRAME:
            self.send_400_response("Too many bytes that belong to no body.")
        elif self._answering:  # its task may not have run yet
            self._stop_timer()
        elif not self._in_message:  # the rest of a refused body has come
            self._close_after(self.timeout_keep_alive)
        elif not self._begun:
            self._close_after(HEADERS_S)
            self._begun = True

    def _parse(self, data: bytes) -> None:
        """Raises HttpParserError."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            version = self.parser.get_http_version().encode()
            head = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
            head += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self._parse(b"\r\n".join([*head, b"", b""]) + data[upgrade.args[0] :])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message, self._head_complete = True, False
        self._header_count = self._chunk_count = self._body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Raises ValueError, which the parser reports as its own; so do the others."""
        self._header_count += 1
        if self._header_count > MAX_HEADERS:  # trailers, too: they cost as much to parse
            raise ValueError("too many headers")
        if not self._head_complete:  # trailers are no headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _PIPELINED:
            raise ValueError("too many requests at a time")
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")
        if sum(len(name) + len(value) for name, value in self.headers) > _HEAD_BYTES:
            raise ValueError("the headers are too long")
        self._head_complete = True
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self.cycle.keep_alive &= not self._ending

    def on_chunk_header(self) -> None:
        self._chunk_count += 1
        if self._chunk_count > _CHUNKS + self._body_bytes // _CHUNK_BYTES:
            raise ValueError("too many chunks")

    def on_body(self, body: bytes) -> None:
        self._overhead = max(0, self._overhead - len(body))  # 0: it came with another request's end
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead, self._in_message = 0, False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """For what is no HTTP; within an answer, or before another's, there is no place for it."""
        if self._answering and (self.pipeline or self.cycle.response_started):
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def shutdown(self) -> None:
        """The server ends.  uvicorn would close an idle connection at once, and so reset a request
        that is on its way.
        """
        self._ending = True
        if self._answering:
            super().shutdown()
        elif not self._begun:
            self._close_after(LAST_REQUEST_S)

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
        self._watch_taking()

    def _watch_taking(self) -> None:
        self._stalled = self.loop.call_later(STALL_S, self._cut_if_stalled, self._untaken())

    def _cut_if_stalled(self, before: int) -> None:
        """Nothing is written meanwhile, so what is untaken can only become less."""
        if before - self._untaken() < LEAST_RATE * STALL_S:
            log.info("a client that took next to nothing for %g s was cut off", STALL_S)
            self.transport.abort()
        else:
            self._watch_taking()

    def _untaken(self) -> int:
        """Bytes that the client has not acknowledged; where the system does not say, unsent ones.

        The kernel's buffers hold megabytes, of which it asks for more only by large parts: a slow
        client that reads all the time may seem to take nothing for a minute.
        """
        untaken = self.transport.get_write_buffer_size()
        with suppress(OSError):
            descriptor = self.transport.get_extra_info("socket").fileno()
            queued = fcntl.ioctl(descriptor, termios.TIOCOUTQ, struct.pack("i", 0))
            untaken += struct.unpack("i", queued)[0]
        return untaken

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    @property
    def _answering(self) -> bool:
        """Whether there is a request whose headers are complete, and whose answer is not."""
        return self.cycle is not None and not self.cycle.response_complete

    def _close_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _stop_timer(self) -> None:
        self._begun = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
