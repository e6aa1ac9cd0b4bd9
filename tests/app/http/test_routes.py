"""What of a request is understood, and what of an answer may be said."""

from dataclasses import replace
from typing import Any

import httpx2
import pytest

from app.http.routes import wants_json
from app.serving.load import Loaded
from tests.app.running import Restorer, running, wait_for
from tests.client import assert_problem


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


@pytest.mark.parametrize("query", ["upscale=2", "nonsense", "a=1&a=2", "%1b%5B=x"])
def test_options_in_the_query_string_are_refused(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes, query: str
) -> None:
    with running(monkeypatch, lambda _: loaded) as (client, _):
        wait_for(client, "ok")
        answer = client.post(f"/enhance?{query}", files={"file": astronaut_png})
        detail = assert_problem(answer, 422)["detail"]
    assert "fields of the form" in detail
    assert detail.isprintable()


def test_problems_with_fields_are_told_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded
) -> None:
    def told(**form: Any) -> str:
        detail: str = assert_problem(client.post("/enhance", **form), 422)["detail"]
        assert "Value error" not in detail
        assert "UploadFile" not in detail
        return detail

    with running(monkeypatch, lambda _: loaded) as (client, _):
        wait_for(client, "ok")
        photo = {"file": ("photo.png", b"x")}
        assert "send the picture as a file" in told(files={"file": (None, "photo.png")})
        assert told(data={"upscale": "3"}, files=photo) == "upscale: Input should be 1, 2 or 4"
        assert len(told(data={"\u202e" * 300: "1"}, files=photo)) < 400
        text = client.post("/enhance", files={"file": (None, "x" * 2_000_000)})
        assert "with a filename" in assert_problem(text, 400)["detail"]


def test_a_model_may_have_any_name(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes
) -> None:
    named: Any = Restorer(loaded, loaded.restorer)
    named.name = "模型\r\nX-Forged: 1"
    with running(monkeypatch, lambda _: replace(loaded, restorer=named)) as (client, _):
        wait_for(client, "ok")

        def ask(**headers: str) -> httpx2.Response:
            return client.post("/enhance", files={"file": astronaut_png}, headers=headers)

        assert ask().headers["x-model"] == r"\u6a21\u578b\r\nX-Forged: 1"
        assert ask(Accept="application/json").json()["model"] == named.name
        assert client.get("/health").json()["model"] == named.name
