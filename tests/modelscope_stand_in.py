"""A ModelScope of our own, on localhost: the endpoints that its client calls for a download."""

import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

_FILES = re.compile(r"/api/v1/models/([^/]+/[^/]+)/repo/files")
_FILE = re.compile(r"/api/v1/models/([^/]+/[^/]+)/repo")
_CHUNK = 1 << 14


@dataclass
class StandIn:
    """What it holds, how it misbehaves, and what was asked of it."""

    files: dict[tuple[str, str], bytes]
    """(repository with its owner, path) -> content."""
    endpoint: str = ""

    break_after: int | None = None
    """Bytes of a file, counted from its start, after which the connection breaks..."""
    breaks: int = 0
    """...this many times; -1 is always."""
    corrupt: bool = False
    """Send other bytes than those listed."""
    silent: str | None = None
    """``listing`` or ``file``: take such a request and never answer it."""
    status: int = 200

    requests: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of every request for a file."""
    bytes_sent: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def listing(self, repository: str) -> list[dict[str, object]]:
        return [
            {
                "Path": path,
                "Name": path.rpartition("/")[2],
                "Type": "blob",
                "Size": len(content),
                "Sha256": hashlib.sha256(content).hexdigest(),
            }
            for (owner, path), content in self.files.items()
            if owner == repository
        ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stand_in: StandIn


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        stand_in = self.server.stand_in
        stand_in.requests.append(self.path)
        url = urlsplit(self.path)
        if stand_in.status != 200:
            self._answer(stand_in.status, b"{}")
        elif match := _FILES.fullmatch(url.path):
            self._listing(match[1])
        elif match := _FILE.fullmatch(url.path):
            self._file(match[1], parse_qs(url.query)["FilePath"][0])
        else:  # the client asks whether it runs inside the provider's network
            self._answer(404, b"{}")

    def _listing(self, repository: str) -> None:
        stand_in = self.server.stand_in
        if stand_in.silent == "listing":
            stand_in.closing.wait()
            return
        entries = stand_in.listing(repository)
        if not entries:
            self._answer(404, b'{"Code": 10010205001, "Message": "not found"}')
            return
        body = {"Code": 200, "Success": True, "Data": {"Files": entries}}
        self._answer(200, json.dumps(body).encode())

    def _file(self, repository: str, path: str) -> None:
        stand_in = self.server.stand_in
        stand_in.ranges.append(self.headers["Range"])
        if stand_in.silent == "file":
            stand_in.closing.wait()
            return
        content = stand_in.files[repository, path]
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")[1])  # type: ignore[index]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content)
        if stand_in.break_after is not None and stand_in.breaks != 0:
            stand_in.breaks -= 1
            end = min(end, stand_in.break_after)
        self._send(bytes(byte ^ 1 for byte in content) if stand_in.corrupt else content, start, end)

    def _send(self, content: bytes, start: int, end: int) -> None:
        for at in range(start, end, _CHUNK):
            chunk = content[at : min(at + _CHUNK, end)]
            try:
                self.wfile.write(chunk)
            except OSError:  # the client is gone
                break
            self.server.stand_in.bytes_sent += len(chunk)
        self.close_connection = True

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(files: dict[tuple[str, str], bytes]) -> Iterator[StandIn]:
    """Serve until the block is left."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.stand_in = StandIn(files, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.stand_in
        finally:
            server.stand_in.closing.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def no_modelscope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without anything of ModelScope's; returns where its cache would be."""
    for name in [name for name in os.environ if name.startswith("MODELSCOPE_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    return home / ".cache" / "modelscope"


@pytest.fixture
def modelscope(no_modelscope: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A ModelScope without files, which modelscope's client takes for the real one."""
    with serving({}) as stand_in:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", stand_in.endpoint)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield stand_in


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any connection, and any look-up of a host, fails the test, even if the error is swallowed."""
    attempts: list[tuple[object, ...]] = []

    def refuse(*arguments: object) -> None:
        attempts.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert attempts == []
