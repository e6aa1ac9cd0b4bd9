"""The body of a request: a multipart form, read as a whole, within bounds."""

from __future__ import annotations

from collections.abc import Callable

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.errors import InvalidForm, TooLarge

_TAIL = 256  # bytes: the last boundary, of 70 characters at most (RFC 2046), and what may follow


def check_form(headers: Headers) -> bytes:
    """The form's boundary.  Raises InvalidForm."""
    media_type, parameters = parse_options_header(headers.get("content-type", ""))
    boundary = parameters.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not boundary:
        raise InvalidForm("Send a multipart/form-data body with the picture as 'file'.")
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
    take it for a complete one), ClientDisconnect when the client does.
    """
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        check_length(len(body) + len(chunk), limit)
        count(len(chunk))
        body += chunk
        more = message.get("more_body", False)
    if b"--" + boundary + b"--" not in body[-_TAIL:]:
        raise InvalidForm("The multipart form breaks off.")
    return bytes(body)
