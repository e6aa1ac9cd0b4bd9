"""What cannot be served: over HTTP, and at the start."""

from __future__ import annotations

import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.client import TIMEOUT, assert_problem, enhance
from tests.conftest import REPOSITORY, Server, serving
from tests.pictures import png_of

BAD_REQUESTS: list[tuple[str, bytes, dict[str, Any], int]] = [
    ("text", b"no picture at all", {}, 415),
    ("empty", b"", {}, 422),
    ("bomb", png_of(30_000, 30_000), {}, 413),
    ("no pixels", png_of(0, 0), {}, 422),
    ("strength", png_of(8, 8), {"strength": 1.5}, 422),
    ("strength is a word", png_of(8, 8), {"strength": "much"}, 422),
    ("upscale", png_of(8, 8), {"upscale": 3}, 422),
    ("faces", png_of(8, 8), {"faces": "prettiest"}, 422),
    ("format", png_of(8, 8), {"format": "gif"}, 422),
    ("quality", png_of(8, 8), {"quality": 0}, 422),
    ("unknown option", png_of(8, 8), {"strenght": 1}, 422),
    ("output too large", png_of(6_300, 6_300), {"upscale": 4}, 413),
]


@pytest.mark.parametrize(
    ("data", "options", "status"),
    [case[1:] for case in BAD_REQUESTS],
    ids=[c[0] for c in BAD_REQUESTS],
)
def test_bad_input_gets_what_the_contract_says_quickly(
    server: Server, data: bytes, options: dict[str, Any], status: int
) -> None:
    start = time.perf_counter()
    assert_problem(enhance(server, data, **options), status)
    assert time.perf_counter() - start < 5


def test_a_truncated_jpeg(server: Server, astronaut: NDArray[np.uint8]) -> None:
    buffer = BytesIO()
    Image.fromarray(astronaut).save(buffer, format="JPEG")
    for share in (0.05, 0.5, 0.95):
        data = buffer.getvalue()[: int(len(buffer.getvalue()) * share)]
        assert_problem(enhance(server, data), 422)


def test_errors_outside_of_enhance(server: Server) -> None:
    url = server.url
    assert_problem(httpx2.get(f"{url}/nowhere"), 404)
    wrong_method = httpx2.get(f"{url}/enhance")
    assert_problem(wrong_method, 405)
    assert wrong_method.headers["allow"] == "POST"
    assert_problem(httpx2.post(f"{url}/enhance", json={"file": "x"}), 400)
    assert_problem(httpx2.post(f"{url}/enhance", content=b"\xff\xd8\xff"), 400)
    assert_problem(httpx2.post(f"{url}/enhance", data={"strength": "1"}), 400)
    broken = httpx2.post(
        f"{url}/enhance",
        content=b"--a\r\nnonsense",
        headers={"Content-Type": "multipart/form-data; boundary=a"},
    )
    assert_problem(broken, 400)
    assert_problem(
        httpx2.post(
            f"{url}/enhance", content=b"x", headers={"Content-Type": "multipart/form-data"}
        ),
        400,
    )
    no_file = httpx2.post(f"{url}/enhance", files={"strength": (None, "1")})
    assert "file" in assert_problem(no_file, 422)["detail"]


def test_too_many_bytes_are_refused_declared_or_not(server: Server) -> None:
    assert_problem(enhance(server, b"\xff\xd8\xff" + bytes(21_000_000)), 413)
    assert_problem(enhance(server, b"\xff\xd8\xff" + bytes(20_000_100)), 413)

    def chunks() -> Any:
        yield b'--a\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(30):
            yield bytes(1_000_000)

    response = httpx2.post(
        f"{server.url}/enhance",
        content=chunks(),
        timeout=TIMEOUT,
        headers={"Content-Type": "multipart/form-data; boundary=a"},
    )
    assert_problem(response, 413)


def test_bad_settings_end_with_one_line(tmp_path: Path) -> None:
    for flags, told in (
        (["--port", "0"], "port"),
        (["--queue-faces", "3"], "queue_faces (3) is less than max_faces (64)"),
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "app.cli", "serve", *flags],
            check=False,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 1
        assert told in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


def test_a_model_that_cannot_be_loaded_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"\0" * 100)
    with (
        pytest.raises(pytest.fail.Exception, match="cannot start"),
        serving(tmp_path / "log", GPEN_MODEL=str(tmp_path / "broken.safetensors")) as server,
    ):
        pytest.fail(f"{server.url} serves a broken model")
