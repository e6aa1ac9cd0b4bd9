"""What a form may be: all that is costly to parse is refused before it is."""

import asyncio
import time
from typing import Any

import pytest
from starlette.datastructures import Headers

from app.errors import InvalidForm
from app.http.body import MAX_PARTS, check_form, pieces, read_form

FIELD = b'\r\n--a\r\nContent-Disposition: form-data; name="x"\r\n\r\n1'
END = b"\r\n--a--\r\n"


def content_type(parameters: str) -> Headers:
    return Headers({"Content-Type": f"multipart/form-data; boundary=a{parameters}"})


def read(body: bytes, size: int = 1000) -> bytes:
    """A body that comes in chunks of ``size`` bytes."""
    chunks = [body[start : start + size] for start in range(0, len(body), size)]

    async def receive() -> Any:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    return asyncio.run(read_form(receive, b"a", 30_000_000, lambda _: None))


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8", "us-ascii"])
def test_utf_8_and_what_is_part_of_it(charset: str) -> None:
    assert check_form(content_type(f"; charset={charset}")) == b"a"


@pytest.mark.parametrize("charset", ["punycode", "PUNYCODE", "idna", "utf-7", "latin-1", "", "\t"])
def test_other_charsets_are_refused(charset: str) -> None:
    with pytest.raises(InvalidForm, match="send it in UTF-8"):
        check_form(content_type(f"; charset={charset}"))
    with pytest.raises(InvalidForm):  # the last one counts, as for the parser
        check_form(content_type(f"; charset=utf-8; charset={charset}"))


def test_a_content_type_is_short() -> None:
    start = time.perf_counter()
    for parameters in (";" * 60_000, '; b="' + ";" * 60_000, "; charset=" + "x" * 60_000):
        with pytest.raises(InvalidForm):
            check_form(content_type(parameters))
    assert time.perf_counter() - start < 0.02
    with pytest.raises(InvalidForm, match="boundary"):
        check_form(Headers({"Content-Type": f"multipart/form-data; boundary={'b' * 71}"}))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_parts_are_counted_however_they_come(size: int) -> None:
    fields = FIELD * (MAX_PARTS - 1)
    assert read(fields + END, size) == fields + END
    with pytest.raises(InvalidForm, match="more than 32 parts"):
        read(FIELD + fields + END, size)


@pytest.mark.parametrize(
    "costly",
    [
        b"\r\n--a" + b" " * 19_000_000 + b"\r\n\r\n1",
        b"\r\n--aX" * 3_000_000,
        b'\r\n--a\r\nContent-Disposition: form-data; name="x' + b";" * 4000 + b'"\r\n\r\n1',
    ],
    ids=["padding", "what is nearly a boundary", "parameters"],
)
def test_what_is_costly_to_parse_is_refused(costly: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(InvalidForm):
        read(FIELD + costly + END, 100_000)
    assert time.perf_counter() - start < 1


def test_pieces_are_the_form() -> None:
    form = bytes(range(256)) * 1000
    assert b"".join(pieces(form)) == form
    assert max(map(len, pieces(form))) <= 64 * 1024
