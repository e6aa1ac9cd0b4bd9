"""A client that costs little: requests are prepared as bytes, answers are parsed by h11.

It shares the machine with the server that it measures, and it must be able to misbehave: to send
half of a body, or to leave.  Libraries for well-behaved clients do neither.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

import h11

PATIENCE_S = 120.0
BOUNDARY = "boundary-of-the-load-test"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


class End(StrEnum):
    """How an exchange ended."""

    COMPLETE = "complete"
    CLOSED = "closed"  # without an answer, or in the middle of one
    RESET = "reset"
    REFUSED = "refused"  # there was no connection
    TIMEOUT = "timeout"  # the client's own patience
    GARBLED = "garbled"


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Address:
        parts = urlsplit(url)
        if parts.hostname is None:
            raise ValueError(f"{url!r} names no host")
        return cls(parts.hostname, parts.port or 80)


@dataclass(frozen=True)
class Message:
    """A request, ready to be sent."""

    request: h11.Request
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    status: int | None
    """None when there was none."""
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""
    body: bytes = field(repr=False)
    seconds: float
    """From before connecting until the answer was complete, or the exchange ended."""
    end: End

    @property
    def label(self) -> str:
        """The status, or how the exchange ended without one."""
        return str(self.status) if self.end is End.COMPLETE else str(self.end)


def message(
    method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Message:
    """A request with a Content-Length where there is a body; ``headers`` may say otherwise."""
    lines = {"Host": "soak", **(headers or {})}
    if body and "Transfer-Encoding" not in lines:
        lines.setdefault("Content-Length", str(len(body)))
    return Message(h11.Request(method=method, target=target, headers=list(lines.items())), body)


def form(
    photo: bytes, options: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> Message:
    """``POST /enhance`` with a photo."""
    parts = [_part(name, value.encode()) for name, value in (options or {}).items()]
    parts.append(file_part() + photo + b"\r\n")
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return message("POST", "/enhance", body, {"Content-Type": MULTIPART, **(headers or {})})


def file_part() -> bytes:
    """What stands before the bytes of the photo."""
    disposition = 'form-data; name="file"; filename="photo"'
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()


def _part(name: str, value: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode() + value + b"\r\n"


class Connection(asyncio.Protocol):
    """One connection with one exchange.

    A protocol and not a stream: a stream forgets an answer that it has received when the connection
    is reset right after it, as it is when the server does not want the rest of a body.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.started = time.perf_counter()
        self.answered: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.closed_after: float | None = None
        """Seconds until the server closed the connection."""
        self._parser = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._end = End.TIMEOUT
        self._seconds = 0.0

    def send_head(self, message: Message) -> None:
        """The request line and headers alone."""
        self.send(self._parser.send(message.request) or b"")

    def send(self, data: bytes) -> None:
        """Bytes as they are.  Nothing happens when the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def writable(self) -> bool:
        """Wait until more may be sent; False when there is no use in it any more."""
        await self._writable.wait()
        return not self.answered.done()

    async def answer(self, patience: float = PATIENCE_S) -> Answer:
        """Wait for the answer, or for the end of the connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await asyncio.shield(self.answered)
        seconds = self._seconds if self.answered.done() else time.perf_counter() - self.started
        return Answer(self._status, self._headers, b"".join(self._body), seconds, self._end)

    def leave(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.answered.done():
            return
        try:
            self._parser.receive_data(data)
            self._read_events()
        except h11.RemoteProtocolError:
            self._settle(End.GARBLED if data else End.CLOSED)

    def eof_received(self) -> None:
        self.data_received(b"")  # an answer may end with the connection

    def connection_lost(self, error: Exception | None) -> None:
        self.closed_after = time.perf_counter() - self.started
        self._settle(End.CLOSED if error is None else End.RESET)
        if not self.closed.done():
            self.closed.set_result(None)
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _read_events(self) -> None:
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Response):
                self._status = event.status_code
                self._headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._settle(End.COMPLETE)
                return
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return

    def _settle(self, end: End) -> None:
        if not self.answered.done():
            self._end, self._seconds = end, time.perf_counter() - self.started
            self.answered.set_result(None)
            self._writable.set()  # whoever still wants to send learns that it is of no use


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Connection]:
    """A connection, closed afterwards.  Raises OSError when there is none to be had."""
    loop = asyncio.get_running_loop()
    connection = Connection()
    await loop.create_connection(lambda: connection, address.host, address.port)
    try:
        yield connection
    finally:
        connection.leave()
        await connection.closed


async def ask(address: Address, message: Message, patience: float = PATIENCE_S) -> Answer:
    """Send a whole request and wait for its answer."""
    start = time.perf_counter()
    try:
        async with connected(address) as connection:
            connection.send_head(message)
            connection.send(message.body)
            return await connection.answer(patience)
    except OSError:
        return Answer(None, {}, b"", time.perf_counter() - start, End.REFUSED)
