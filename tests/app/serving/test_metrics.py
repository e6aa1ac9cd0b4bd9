"""Metrics: what is counted, under labels that cannot grow without bound."""

import re

import httpx2
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.conftest import Server


def values(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_a_request_is_counted_where_it_belongs(server: Server, astronaut_png: bytes) -> None:
    def read() -> dict[str, float]:
        answer = httpx2.get(f"{server.url}/metrics", timeout=60)
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return values(answer.text)

    before = read()
    url = f"{server.url}/enhance"
    assert httpx2.post(url, files={"file": astronaut_png}, timeout=120).status_code == 200
    assert httpx2.post(url, files={"file": b"text"}, timeout=120).status_code == 415
    after = read()

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more('gpen_requests_total{route="/enhance",status="200"}') == 1
    assert more('gpen_requests_total{route="/enhance",status="415"}') == 1
    assert more('gpen_problems_total{type="unsupported-picture"}') == 1
    assert more('gpen_request_seconds_count{route="/enhance",status="200"}') == 1
    assert more('gpen_faces_total{outcome="restored"}') == 1
    assert more("gpen_queue_seconds_count") == 1
    assert more("gpen_batch_faces_sum") == 1
    assert more("gpen_batch_seconds_sum") > 0
    assert after["gpen_queue_faces"] == 0
    assert after["gpen_limit_queue_faces"] == 256
    assert after["process_resident_memory_bytes"] > 1e8


def test_paths_that_are_no_routes_share_one_label() -> None:
    client = TestClient(create_app(Settings()))
    for i in range(5):
        assert client.get(f"/nowhere/{i}").status_code == 404
    counted = values(client.get("/metrics").text)
    assert counted['gpen_requests_total{route="unknown",status="404"}'] == 5
    assert not [name for name in counted if re.search("nowhere", name)]


def test_applications_do_not_share_their_metrics() -> None:
    clients = [TestClient(create_app(Settings())) for _ in range(2)]
    clients[0].get("/nowhere")
    assert 'status="404"' in clients[0].get("/metrics").text
    assert 'status="404"' not in clients[1].get("/metrics").text


def test_a_line_a_request(server: Server) -> None:
    url, request_id = f"{server.url}/enhance", "line-a-request"
    httpx2.post(url, files={"file": b"text"}, headers={"X-Request-ID": request_id}, timeout=120)
    lines = [line for line in server.log.read_text().splitlines() if request_id in line]
    assert len(lines) == 1
    assert re.search(
        r" INFO app.http.middleware: /enhance 415 unsupported-picture \d+ ms,"
        r" request line-a-request$",
        lines[0],
    )
