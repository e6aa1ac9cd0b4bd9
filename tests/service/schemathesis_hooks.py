"""What Schemathesis is to know of this service; loaded by its command (see test_schema)."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image

_EXPECTED = {503, 504}  # documented: full, too late


def _picture(size: tuple[int, int], kind: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, "grey").save(buffer, format=kind)
    return buffer.getvalue()


_PICTURES = st.builds(
    _picture,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF"]),
)
schemathesis.openapi.format("binary", _PICTURES | st.binary())


@schemathesis.check
def nothing_is_a_bug(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    assert response.status_code < 500 or response.status_code in _EXPECTED


@schemathesis.check
def every_error_is_a_problem(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]
        problem = response.json()
        assert problem["status"] == response.status_code
        assert [problem["request_id"]] == response.headers["x-request-id"]
