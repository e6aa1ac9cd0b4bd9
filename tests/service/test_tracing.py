"""Traces go where the environment says, end to end."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2

from tests.client import enhance
from tests.conftest import serving


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """What takes in OTLP over HTTP, and the bodies it was sent."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", bodies
        finally:
            server.shutdown()
            thread.join()


def test_a_request_is_traced_with_its_stages(tmp_path: Path, astronaut_png: bytes) -> None:
    with collector() as (url, bodies):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        environment["OTEL_BSP_SCHEDULE_DELAY"] = "200"  # ms
        with serving(tmp_path / "log", GPEN_MODEL="gpen-starter-256", **environment) as server:
            assert enhance(server, astronaut_png).status_code == 200
            httpx2.get(f"{server.url}/health")
            deadline = time.monotonic() + 20
            while b"gpen.restore_ms" not in b"".join(bodies):
                assert time.monotonic() < deadline, b"".join(bodies)
                time.sleep(0.1)
        sent = b"".join(bodies)
    assert b"POST /enhance" in sent
    assert b"gpen-starter-256" in sent
    assert b"/health" not in sent
