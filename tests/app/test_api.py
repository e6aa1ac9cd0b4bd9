"""Content negotiation."""

import pytest

from app.api import wants_json


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("image/jpeg", False),
        ("application/json", True),
        ("Application/JSON; q=0.9", True),
        ("application/json;q=0", False),
        ("application/json;q=nonsense", False),
        ("image/*, application/json;q=0", False),
        ("image/png;q=0.5, application/json", True),
        ("image/png, application/json;q=0.5", False),
        ("text/html, application/json, */*;q=0.1", True),
    ],
)
def test_json_is_for_those_who_ask_for_it(accept: str, expected: bool) -> None:
    assert wants_json(accept) is expected
