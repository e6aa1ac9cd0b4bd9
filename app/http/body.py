"""The body of a request: a multipart form, read as a whole, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import InvalidForm, TooLarge
from app.text import printable

MAX_PARTS = 32
"""Of a form: the picture, the options, and room for what will be refused by its name."""
_TAIL = 256  # bytes: the last boundary, and what may follow
_BOUNDARY = 70  # characters (RFC 2046)
_CONTENT_TYPE = 1000  # characters; a boundary, a charset, and nothing else of interest
_CHARSETS = {b"utf-8", b"utf8", b"us-ascii", b"ascii"}
_PART_HEAD = 2048
"""Bytes from a delimiter to the blank line, spaces included: the parser takes them one by one, and
a header's parameters at a quadratic price."""
_PIECE = 64 * 1024


def check_form(headers: Headers) -> bytes:
    """The form's boundary.  Raises InvalidForm.

    Text in other charsets than UTF-8 is refused: the parser would hand it to any of Python's
    codecs, some of which (punycode) take a time that grows with the square of its length.
    """
    content_type = headers.get("content-type", "")
    if len(content_type) > _CONTENT_TYPE:
        raise InvalidForm(f"The Content-Type is longer than {_CONTENT_TYPE} characters.")
    media_type, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not boundary:
        raise InvalidForm("Send a multipart/form-data body with the picture as 'file'.")
    if len(boundary) > _BOUNDARY:
        raise InvalidForm(f"The boundary is longer than {_BOUNDARY} characters.")
    charset = parameters.get(b"charset", b"utf-8")
    if charset.lower() not in _CHARSETS:
        name = printable(charset.decode("latin-1")[:40])
        raise InvalidForm(f"The form is said to be in {name}; send it in UTF-8.")
    return boundary


def check_length(length: int, limit: int) -> None:
    """Raises TooLarge."""
    if length > limit:
        raise TooLarge(f"The body is larger than {limit} bytes.")


async def read_form(
    receive: Receive, boundary: bytes, limit: int, count: Callable[[int], None]
) -> bytes:
    """Read a form to its end.  ``count`` is told the bytes of each chunk, and may raise.

    Raises TooLarge over ``limit`` bytes, InvalidForm when the form breaks off (the parser would
    take it for a complete one) or its parts would be costly to parse, ClientDisconnect when the
    client goes.
    """
    body = bytearray()
    delimiter = b"\r\n--" + boundary
    delimiters: list[int] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        check_length(len(body) + len(chunk), limit)
        count(len(chunk))
        seen = max(0, len(body) - len(delimiter) + 1)
        body += chunk
        delimiters += _ends_of(delimiter, body, seen)
        if len(delimiters) > MAX_PARTS:
            raise InvalidForm(f"The form has more than {MAX_PARTS} parts.")
        more = message.get("more_body", False)
    if b"--" + boundary + b"--" not in body[-_TAIL:]:
        raise InvalidForm("The multipart form breaks off.")
    for end in delimiters:
        head = body[end : end + _PART_HEAD]
        if not head.startswith(b"--") and b"\r\n\r\n" not in head:
            raise InvalidForm(f"The headers of a part are longer than {_PART_HEAD} bytes.")
    return bytes(body)


def _ends_of(delimiter: bytes, body: bytearray, start: int) -> list[int]:
    """Where the delimiters from ``start`` on end, up to as many as are too many."""
    ends: list[int] = []
    while len(ends) <= MAX_PARTS and (found := body.find(delimiter, start)) >= 0:
        start = found + len(delimiter)
        ends.append(start)
    return ends


def pieces(form: bytes) -> Iterator[bytes]:
    """A form in pieces that are each parsed in a few milliseconds, whatever they hold."""
    for start in range(0, len(form), _PIECE):
        yield form[start : start + _PIECE]


class BodyLimit:
    """A backstop behind the gate: nobody reads more than ``limit`` bytes of any body.

    FastAPI and Starlette have such limits, too, but answer in plain text.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def receive_within() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:  # FastAPI makes a 400 of any other exception
                raise HTTPException(TooLarge.status, f"The body is larger than {self.limit} bytes.")
            return message

        await self.app(scope, receive_within if scope["type"] == "http" else receive, send)
