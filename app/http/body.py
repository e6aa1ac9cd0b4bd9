"""Reads the body of a request: a multipart form, as a whole and within limits."""

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
"""Parts of a form: the picture, the options, and a few that will be refused by their names."""
_TAIL = 256  # bytes in which the last boundary must be
_BOUNDARY = 70  # characters (RFC 2046)
_CONTENT_TYPE = 1000  # characters; enough for a boundary and a charset
_CHARSETS = {b"utf-8", b"utf8", b"us-ascii", b"ascii"}
_PART_HEAD = 2048
"""Bytes from a delimiter to the blank line, with spaces.  The parser reads them one by one, and
takes time quadratic in the length of a header's parameters."""
_PIECE = 64 * 1024


def check_form(headers: Headers) -> bytes:
    """Return the form's boundary.  Raises InvalidForm.

    Charsets other than UTF-8 are refused: the parser would use any of Python's codecs, and the time
    that some of them (punycode) take grows with the square of the text's length.
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
        raise InvalidForm(f"The form declares the charset {name}; send it in UTF-8.")
    return boundary


def check_length(length: int, limit: int) -> None:
    """Raise TooLarge if a body is longer than ``limit`` bytes."""
    if length > limit:
        raise TooLarge(f"The body is larger than {limit} bytes.")


async def read_form(
    receive: Receive, boundary: bytes, limit: int, count: Callable[[int], None]
) -> bytes:
    """Read a form to its end.  ``count`` is called with the bytes of each chunk, and may raise.

    Raises TooLarge over ``limit`` bytes, InvalidForm if the form is truncated (which the parser
    does not notice) or its parts would be costly to parse, and ClientDisconnect.
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
        raise InvalidForm("The multipart form is truncated.")
    for end in delimiters:
        head = body[end : end + _PART_HEAD]
        if not head.startswith(b"--") and b"\r\n\r\n" not in head:
            raise InvalidForm(f"The headers of a part are longer than {_PART_HEAD} bytes.")
    return bytes(body)


def _ends_of(delimiter: bytes, body: bytearray, start: int) -> list[int]:
    """The ends of the delimiters after ``start``; stops at one more than MAX_PARTS."""
    ends: list[int] = []
    while len(ends) <= MAX_PARTS and (found := body.find(delimiter, start)) >= 0:
        start = found + len(delimiter)
        ends.append(start)
    return ends


def pieces(form: bytes) -> Iterator[bytes]:
    """Split a form into pieces that are parsed in a few milliseconds each, whatever they hold."""
    for start in range(0, len(form), _PIECE):
        yield form[start : start + _PIECE]


class BodyLimit:
    """Refuses bodies of more than ``limit`` bytes on routes without the gate.

    The limits that FastAPI and Starlette have answer in plain text.
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
            if received > self.limit:  # FastAPI turns any other exception into a 400
                raise HTTPException(TooLarge.status, f"The body is larger than {self.limit} bytes.")
            return message

        await self.app(scope, receive_within if scope["type"] == "http" else receive, send)
