"""API keys: who gets in, and that nobody else's body is read."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings, one_line

ONE, TWO = "0123456789abcdef-one", "0123456789abcdef-two"


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings(api_keys=f"{ONE}, {TWO}"))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": ONE[:-1]},
        {"X-API-Key": f"{ONE}, {TWO}"},
        {"X-API-Key": "\u00e9".encode()},
        {"Authorization": f"Basic {ONE}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"X-API-Key": "wrong", "Authorization": f"Bearer {ONE}"},
    ],
)
@pytest.mark.parametrize("path", ["/enhance", "/docs", "/healthy", "/nowhere"])
def test_without_a_key_nobody_gets_in(app: FastAPI, headers: dict[str, Any], path: str) -> None:
    answer = TestClient(app).post(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": ONE},
        {"X-API-Key": TWO},
        {"Authorization": f"Bearer {TWO}"},
        {"Authorization": f"bearer  {ONE} "},
    ],
)
def test_with_a_key_one_does(app: FastAPI, headers: dict[str, str]) -> None:
    assert TestClient(app).get("/docs", headers=headers).status_code == 200
    assert TestClient(app).get("/nowhere", headers=headers).status_code == 404


def test_probes_are_exempt(app: FastAPI) -> None:
    assert TestClient(app).get("/health/live").status_code == 200


def test_the_body_of_a_stranger_is_not_read(app: FastAPI) -> None:
    asked: list[None] = []
    messages: list[Any] = []

    async def receive() -> Any:
        asked.append(None)
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    async def send(message: Any) -> None:
        messages.append(message)

    asyncio.run(
        app({"type": "http", "method": "POST", "path": "/enhance", "headers": []}, receive, send)
    )
    assert messages[0]["status"] == 401
    assert not asked


def test_keys_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{ONE}\n\n  {TWO}  \n")
    assert Settings(api_keys_file=path).keys == (ONE, TWO)
    assert Settings().keys == ()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"api_keys": " , "}, "nobody would be kept out"),
        ({"api_keys": "short"}, "at least 16"),
        ({"api_keys_file": "/nowhere"}, "there is no file /nowhere"),
    ],
)
def test_keys_that_are_none_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**given)
    assert told in one_line(refused.value)


def test_keys_are_not_shown() -> None:
    assert ONE not in repr(Settings(api_keys=ONE))
