"""Limits on the time and the bytes that a connection may take."""

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
"""Bytes per second that a client must receive while an answer waits to be sent."""
LAST_REQUEST_S = 1.0
"""How long a stopping server waits for a request that may be on its way."""
_HEAD_BYTES = 64 * 1024
_CHUNKS = 250
"""Chunks of any size; if there are more, they must hold :data:`_CHUNK_BYTES` on average."""
_CHUNK_BYTES = 64
_CHUNK_FRAME = 8  # bytes around a chunk: its size in a few digits, and two line ends
_PIPELINED = 16  # requests that may wait behind the one being answered


class TimedConnection(HttpToolsProtocol):
    """uvicorn's connection, with limits on every wait and every buffer.

    uvicorn closes a connection that is idle after an answer, but waits forever for the first
    request, for headers that arrive a byte a minute (slowloris), and for a client that does not
    receive its answer.  (One that receives it slowly but steadily is served.)  The gate limits the
    time for a body and an answer, and the size of a body; the sizes of headers, trailers and chunk
    framing are limited here.

    Each chunk and each header costs us about a microsecond, but the sender only a few bytes: a body
    in chunks of one byte would take a thousand times as long on the event loop as a plain one.  So
    their number is limited, that of chunks by the bytes they hold.

    Upgrade requests are ignored, as RFC 9110 §7.8 allows (``curl --http2`` sends one).  The parser
    would otherwise treat the body as data of the other protocol.
    """

    _timer: asyncio.TimerHandle | None = None
    _begun = False
    """Whether headers, or the rest of a refused body, have begun to arrive."""
    _stalled: asyncio.TimerHandle | None = None
    _head_complete = _in_message = False
    _overhead = 0
    """Bytes of the current request that are not part of its body."""
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
            self.send_400_response("Too many bytes outside the body.")
        elif self._answering:  # though its task may not have run yet
            self._stop_timer()
        elif not self._in_message:  # the rest of a refused body has arrived
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
        """Raises ValueError, which becomes an HttpParserError, as do those of the methods below."""
        self._header_count += 1
        if self._header_count > MAX_HEADERS:  # including trailers, which cost as much to parse
            raise ValueError("too many headers")
        if not self._head_complete:  # trailers are no headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _PIPELINED:
            raise ValueError("too many requests at a time")
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("this is not a proxy")
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
        # the body may have arrived with the end of another request, which reset the overhead
        self._overhead = max(0, self._overhead - len(body))
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead, self._in_message = 0, False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP, or close the connection if another answer is due or in progress."""
        if self._answering and (self.pipeline or self.cycle.response_started):
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def shutdown(self) -> None:
        """Close the connection in order, because the server stops.

        uvicorn would close an idle connection immediately, and so reset a request on its way.
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
        if self.transport.get_write_buffer_size():  # close() would wait until it is received
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_receiving()

    def _watch_receiving(self) -> None:
        self._stalled = self.loop.call_later(STALL_S, self._cut_if_stalled, self._unreceived())

    def _cut_if_stalled(self, before: int) -> None:
        """Cut the client off if it has received too little since ``before`` bytes were left.

        Nothing is written meanwhile, so their number only decreases.
        """
        if before - self._unreceived() < LEAST_RATE * STALL_S:
            log.info("a client that received next to nothing for %g s was cut off", STALL_S)
            self.transport.abort()
        else:
            self._watch_receiving()

    def _unreceived(self) -> int:
        """Bytes that the client has not acknowledged, or not been sent if the system cannot tell.

        The kernel's buffers hold megabytes and are refilled in large parts, so by the unsent bytes
        alone a slow client that reads steadily may seem to receive nothing for a minute.
        """
        unreceived = self.transport.get_write_buffer_size()
        with suppress(OSError):
            descriptor = self.transport.get_extra_info("socket").fileno()
            queued = fcntl.ioctl(descriptor, termios.TIOCOUTQ, struct.pack("i", 0))
            unreceived += struct.unpack("i", queued)[0]
        return unreceived

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    @property
    def _answering(self) -> bool:
        """Whether there is a request with complete headers and an incomplete answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def _close_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _stop_timer(self) -> None:
        self._begun = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
