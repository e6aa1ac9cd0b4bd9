"""API keys: who gets in, and that nobody else's body is read."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.testclient import TestClient

from app.cli import main
from app.main import create_app
from app.serving.load import Loaded
from app.settings import Settings, one_line, read_settings
from tests.app.running import running

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
@pytest.mark.parametrize("path", ["/enhance", "/metrics", "/docsy", "/healthy", "/nowhere"])
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
    assert TestClient(app).get("/metrics", headers=headers).status_code == 200
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
    path.write_text(f"# of the first customer, since May\n{ONE}\n\n  {TWO}  \n")
    settings = Settings(api_keys_file=path)
    path.write_text("")
    assert settings.keys == (ONE, TWO)
    assert Settings().keys == ()


def test_keys_from_the_environment_may_stand_in_lines() -> None:
    """As a Secret has them that was made from a file."""
    assert Settings(api_keys=f"# two\n{ONE}\n{TWO}\n").keys == (ONE, TWO)


@pytest.mark.parametrize(
    "text", ["", "\n \n", "# 0123456789abcdef\n  # of nobody any more\n", "\0" * 16]
)
def test_a_file_without_keys_is_refused_with_one_line(tmp_path: Path, text: str) -> None:
    """Also where there are others: whoever names a file means its keys."""
    path = tmp_path / "keys"
    path.write_text(text)
    for others in ({}, {"api_keys": ONE}):
        with pytest.raises(SystemExit) as ended:
            read_settings(api_keys_file=path, **others)
        assert re.fullmatch("error: .*API key.*", str(ended.value))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(SystemExit, match="api_keys_file: it is not UTF-8 text"):
        read_settings(api_keys_file=path)


def test_no_flag_shows_keys(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in (["--api-keys", ONE], [f"--api-keys={ONE}"], ["--api-key", ONE]):
        with pytest.raises(SystemExit) as ended:
            main(["serve", *flag])
        assert ended.value.code == 2
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "--api-keys-file" in (told := capsys.readouterr().out)
    assert "--api-keys " not in told


@pytest.mark.parametrize(
    ("keys", "logged"),
    [({"api_keys": ONE}, "an API key is required; 1 "), ({}, "no API key is required")],
)
def test_the_log_says_at_the_start_whether_a_key_is_required(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    loaded: Loaded,
    keys: dict[str, Any],
    logged: str,
) -> None:
    caplog.set_level("INFO", "app")
    with running(monkeypatch, lambda _: loaded, **keys):
        assert logged in caplog.text
    assert ONE not in caplog.text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"api_keys": " , "}, "no key would be required"),
        ({"api_keys": ""}, "no key would be required"),
        ({"api_keys": "short"}, "at least 16"),
        ({"api_keys_file": "/nowhere"}, "the file /nowhere does not exist"),
    ],
)
def test_keys_that_are_none_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**given)
    assert told in one_line(refused.value)


def test_a_variable_that_is_set_but_empty_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPEN_API_KEYS", "")
    with pytest.raises(SystemExit, match="API keys are configured but empty"):
        read_settings()


def test_keys_are_not_shown() -> None:
    assert ONE not in repr(Settings(api_keys=ONE))
