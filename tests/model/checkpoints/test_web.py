"""Downloading by address, from a server on localhost."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from model.checkpoints.download import DownloadError, Patience, download
from model.checkpoints.lookup import find
from model.checkpoints.table import VGG16, WeightsFile

CONTENT = random.Random(0).randbytes(600_000)
IMPATIENT = Patience(idle_s=1, retries=0)


@dataclass
class Site:
    """What a server sends, and what it was asked for."""

    content: bytes = CONTENT
    break_after: int | None = None
    """Bytes of an answer after which the first connection breaks."""
    status: int = 200
    ranges: list[str | None] = field(default_factory=list)
    port: int = 0


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            site.ranges.append(asked)
            if site.status != 200:
                self.send_error(site.status)
                return
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if start >= len(site.content):
                self.send_error(416)
                return
            body = site.content[start:]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if site.break_after is not None and len(site.ranges) == 1:
                body = body[: site.break_after]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        site.port = server.server_address[1]
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture
def weights(site: Site) -> WeightsFile:
    return replace(
        VGG16,
        url=f"http://127.0.0.1:{site.port}/{VGG16.file_name}",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "weights", tmp_path / "cache"


def test_a_file_is_downloaded_verified_and_found(site, weights, folders):
    seen: list[tuple[int, int]] = []
    assert find(weights, *folders) is None
    path = download(weights, *folders, progress=lambda *bytes_: seen.append(bytes_))
    assert path.read_bytes() == CONTENT
    assert [file for file in folders[1].rglob("*") if file.is_file()] == [path]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert find(weights, *folders) == path


def test_a_broken_connection_goes_on_where_it_stopped(site, weights, folders):
    site.break_after = 200_000
    assert download(weights, *folders).read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=200000-"]


def test_the_next_download_goes_on_where_a_failed_one_stopped(site, weights, folders):
    site.break_after = 200_000
    with pytest.raises(DownloadError, match="the connection broke"):
        download(weights, *folders, patience=IMPATIENT)
    assert find(weights, *folders) is None
    assert download(weights, *folders, patience=IMPATIENT).read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=200000-"]


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_another_file_is_refused_and_not_kept(site, weights, folders, content):
    site.content = content
    with pytest.raises(DownloadError, match="did not send the published file"):
        download(weights, *folders)
    assert not [file for file in folders[1].rglob("*") if file.is_file()]


def test_a_whole_file_that_has_no_name_yet_is_taken(site, weights, folders):
    part = folders[1] / "web" / f"{VGG16.file_name}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert download(weights, *folders).read_bytes() == CONTENT


def test_the_message_says_how_to_fetch_by_hand(site, weights, folders):
    site.status = 404
    with pytest.raises(DownloadError) as caught:
        download(weights, *folders)
    assert site.ranges == [None]  # asking again would not help
    assert "HTTP status 404" in str(caught.value)
    assert f"put {weights.url} into {folders[0]} as {VGG16.file_name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written(site, weights, folders):
    folders[1].write_text("a file")
    with pytest.raises(DownloadError, match=r"Not a directory|File exists"):
        download(weights, *folders, patience=IMPATIENT)
