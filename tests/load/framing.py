"""How long a liveness probe waits beside clients whose framing costs more than their bytes.

A crowd of connections sends as fast as it can, and connects again as soon as it is closed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
import skimage
from PIL import Image

_HEAD = (
    b"POST /enhance HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: multipart/form-data; boundary=a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\n--a\r\n\r\n"
)
_TINY_CHUNKS = b"1\r\nx\r\n" * 40_000
_MANY_HEADERS = b"GET /health/live HTTP/1.1\r\n" + b"a:\r\n" * 15_000 + b"\r\n"
KINDS = {
    "chunks of one byte": (_HEAD, _TINY_CHUNKS),
    "15 000 headers": (b"", _MANY_HEADERS),
}
"""What a connection sends first, and what it then repeats."""
_PAUSE_S = 0.1  # between probes


@dataclass(frozen=True)
class Latency:
    median: float
    worst: float
    """Seconds."""
    photos: int
    """That were restored meanwhile, for one client."""

    def __str__(self) -> str:
        return f"median {self.median:6.3f} s, worst {self.worst:6.3f} s, photos {self.photos}"


@contextlib.contextmanager
def flooding(url: str, kind: str, connections: int) -> Iterator[None]:
    """A crowd of a kind, in a process of its own."""
    crowd = multiprocessing.get_context("spawn").Process(
        target=_flood, args=(_address(url), *KINDS[kind], connections), daemon=True
    )
    crowd.start()
    try:
        time.sleep(2)  # until they are all there
        yield
    finally:
        crowd.kill()
        crowd.join()


def liveness(url: str, seconds: float) -> Latency:
    """Ask the liveness probe again and again, and have a photo restored meanwhile."""
    waited: list[float] = []
    photos: list[int] = []
    end = time.monotonic() + seconds

    def restore() -> None:
        photo = _photo()
        while time.monotonic() < end:
            with contextlib.suppress(httpx2.TransportError):
                sent = httpx2.post(f"{url}/enhance", files={"file": photo}, timeout=60)
                photos.append(sent.status_code)

    client = threading.Thread(target=restore)
    client.start()
    while time.monotonic() < end:
        start = time.perf_counter()
        with socket.create_connection(_address(url), timeout=60) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        waited.append(time.perf_counter() - start)
        time.sleep(_PAUSE_S)
    client.join()
    return Latency(statistics.median(waited), max(waited), photos.count(200))


def _flood(address: tuple[str, int], first: bytes, repeated: bytes, connections: int) -> None:
    def send() -> None:
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(address, timeout=60) as connection,
            ):
                connection.sendall(first)
                while True:
                    connection.sendall(repeated)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def _photo() -> bytes:
    """A face of 200 pixels."""
    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    buffer = BytesIO()
    photo = np.asarray(Image.open(path).convert("RGB"))[:280, 80:360]
    Image.fromarray(photo).save(buffer, format="PNG")
    return buffer.getvalue()
