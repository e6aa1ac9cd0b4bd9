"""A client that costs little: requests are prepared as bytes, answers are parsed by llhttp.

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

import httptools

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

    head: bytes
    body: bytes = b""

    def with_header(self, name: str, value: str) -> Message:
        return Message(_with_line(self.head, name, value), self.body)


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
    head = f"{method} {target} HTTP/1.1\r\n\r\n".encode()
    for name, value in lines.items():
        head = _with_line(head, name, value)
    return Message(head, body)


def _with_line(head: bytes, name: str, value: str) -> bytes:
    return head[:-2] + f"{name}: {value}\r\n\r\n".encode()


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
    """One connection with one exchange, or with one after another.

    A protocol and not a stream: a stream forgets an answer that it has received when the connection
    is reset right after it, as it is when the server does not want the rest of a body.
    """

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed_after: float | None = None
        """Seconds until the server closed the connection."""
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._begin()

    def _begin(self) -> None:
        self.started = time.perf_counter()
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._kept = False
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._end = End.TIMEOUT
        self._seconds = 0.0

    def begin_again(self) -> bool:
        """Make ready for another exchange; False where the server has closed, or will close."""
        if not self._kept or self.closed.done():
            return False
        self._begin()
        return True

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
            self._kept = False  # nobody asked for more
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._settle(End.GARBLED)

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

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        self._kept = self._parser.should_keep_alive()
        self._settle(End.COMPLETE)

    def _settle(self, end: End) -> None:
        if not self.answered.done():
            self._end, self._seconds = end, time.perf_counter() - self.started
            self.answered.set_result(None)
            self._writable.set()  # whoever still wants to send learns that it is of no use


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Connection]:
    """A connection, closed afterwards.  Raises OSError when there is none to be had."""
    connection = await _connect(address)
    try:
        yield connection
    finally:
        connection.leave()
        await connection.closed


class Pool:
    """Connections that are kept, as a load balancer keeps them."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[Connection] = []

    async def ask(self, message: Message, patience: float = PATIENCE_S) -> Answer:
        """Send a whole request and wait for its answer."""
        start = time.perf_counter()
        try:
            connection = await self._connection()
        except OSError:
            return Answer(None, {}, b"", time.perf_counter() - start, End.REFUSED)
        connection.send(message.head + message.body)
        answer = await connection.answer(patience)
        if answer.end is End.COMPLETE:
            self._idle.append(connection)
        else:
            connection.leave()
        return answer

    async def close(self) -> None:
        for connection in self._idle:
            connection.leave()
            await connection.closed

    async def _connection(self) -> Connection:
        while self._idle:
            kept = self._idle.pop()
            if kept.begin_again():
                return kept
            kept.leave()
        return await _connect(self._address)


async def _connect(address: Address) -> Connection:
    """Raises OSError when there is no connection to be had."""
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, address.host, address.port
    )
    return connection


async def ask(address: Address, message: Message, patience: float = PATIENCE_S) -> Answer:
    """Send a whole request, on a connection of its own, and wait for its answer."""
    start = time.perf_counter()
    try:
        async with connected(address) as connection:
            connection.send(message.head + message.body)
            return await connection.answer(patience)
    except OSError:
        return Answer(None, {}, b"", time.perf_counter() - start, End.REFUSED)
