"""Heads that no honest client sends; and paths behind a proxy's prefix."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.http.edge import MAX_HEADERS
from app.main import create_app
from app.serving.load import Loaded
from app.settings import Settings
from tests.app.running import running, wait_for
from tests.client import assert_problem

KEY = "0123456789abcdef"
FORM = {"Content-Type": "multipart/form-data; boundary=a"}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(Settings(api_keys=KEY, cors_origins="https://a.example"))


@pytest.mark.parametrize(
    "path", ["/enhance%0A", "/metrics%0a", "/%00", "/health%0D", "/a%7Fb", "/%C2%85"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_control_characters_in_a_path_are_refused_before_anything_else(
    app: FastAPI, method: str, path: str
) -> None:
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    answer = TestClient(app).request(method, path, headers=preflight)
    assert "control character" in assert_problem(answer, 400)["detail"]


def test_letters_of_any_language_are_none(app: FastAPI) -> None:
    assert TestClient(app).get("/照片", headers={"X-API-Key": KEY}).status_code == 404


def test_nothing_is_read_of_a_path_that_is_nearly_the_route(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded
) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            sent.append(len(sent))
            yield bytes(1_000_000)

    sent: list[int] = []
    with running(monkeypatch, lambda _: loaded, max_upload_mb=1) as (client, _):
        wait_for(client, "ok")
        assert_problem(client.post("/enhance%0A", content=endless(), headers=FORM), 400)


def test_headers_are_counted(app: FastAPI) -> None:
    client = TestClient(app)
    few = len(client.get("/health/live").request.headers)
    for number, status in ((MAX_HEADERS - few, 200), (MAX_HEADERS - few + 1, 400)):
        more = [(f"X-{i}", "") for i in range(number)]
        assert client.get("/health/live", headers=more).status_code == status


def test_cookies_cost_nothing(app: FastAPI) -> None:
    """The standard library took half a minute for this one."""
    start = time.perf_counter()
    cookie = 'a="' + "\\" * 60_000 + '"'
    assert TestClient(app).get("/health/live", headers={"Cookie": cookie}).status_code == 200
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_paths_are_judged_without_the_prefix_of_a_proxy(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, prefix: str
) -> None:
    """As with ``uvicorn app.main:app --root-path /api``."""
    key = {"X-API-Key": KEY}
    with running(monkeypatch, lambda _: loaded, api_keys=KEY) as (plain, _):
        wait_for(plain, "ok")
        client = TestClient(plain.app, root_path=prefix)
        for path in ("/health", "/health/live", "/health/ready", "/", "/docs"):
            assert client.get(prefix + path).status_code == 200, path
        assert_problem(client.get(prefix + "/metrics"), 401)
        metrics = client.get(prefix + "/metrics", headers=key)
        assert 'gpen_requests_total{route="/enhance",status="401"} 0.0' in metrics.text
        assert_problem(client.post(prefix + "/enhance"), 401)
        large = key | FORM | {"Content-Length": "200000000"}
        assert_problem(client.post(prefix + "/enhance", headers=large, content=b"x"), 413)
        metrics = client.get(prefix + "/metrics", headers=key)
        assert 'gpen_requests_total{route="/enhance",status="401"} 1.0' in metrics.text
        assert (
            "script-src 'self'" in client.get(prefix + "/docs").headers["content-security-policy"]
        )


def test_no_route_reads_a_body_without_end() -> None:
    """Whatever route is added without a gate."""
    app = create_app(Settings(max_upload_mb=1))
    read: list[int] = []

    async def swallow(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["more_body"]:
            read.append(len(message["body"]))

    app.mount("/swallow", swallow)
    content = (bytes(100_000) for _ in range(100))
    assert_problem(TestClient(app).post("/swallow/", content=content), 413)
    assert sum(read) < 1_200_000
