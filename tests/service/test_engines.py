"""A first start, which has to prepare its engine, and the second one."""

import time
from pathlib import Path
from typing import Any

import cv2
import httpx2
import pytest

from app.imaging.decode import decode
from app.imaging.photo import Pixels
from tests.app.engines.conftest import save_small_generator
from tests.conftest import Server, serving

pytest.importorskip("openvino", reason="there is no OpenVINO for this processor")


def health(server: Server) -> dict[str, Any]:
    answer: dict[str, Any] = httpx2.get(f"{server.url}/health").json()
    return answer


def small_model(folder: Path, engine: str, precision: str) -> dict[str, str]:
    """The environment of a server with a model that is converted within seconds."""
    return {
        "GPEN_MODEL": str(save_small_generator(folder / "small.safetensors")),
        "GPEN_CACHE_DIR": str(folder / "cache"),
        "GPEN_ENGINE": engine,
        "GPEN_PRECISION": precision,
        "GPEN_GUARD": "off",  # its weights are random
    }


def enhanced(server: Server, photo: bytes) -> Pixels:
    answer = httpx2.post(f"{server.url}/enhance", files={"file": photo}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-faces-restored"] == "1"
    return decode(answer.content, max_pixels=10**6).pixels


def test_a_service_goes_over_to_the_engine_it_has_prepared(tmp_path, astronaut_png):
    settings = small_model(tmp_path, engine="openvino", precision="fp32")
    with serving(tmp_path / "first.log", **settings) as server:
        assert health(server)["engine"] == "torch"
        before = enhanced(server, astronaut_png)
        deadline = time.monotonic() + 120
        while health(server)["engine"] == "torch":
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.2)
        after = enhanced(server, astronaut_png)
        assert cv2.PSNR(before, decode(astronaut_png, max_pixels=10**6).pixels) < 40  # restored
        assert cv2.PSNR(after, before) > 55  # alike
    log = (tmp_path / "first.log").read_text()
    assert "switched to openvino with precision fp32" in log
    assert "Traceback" not in log
    with serving(tmp_path / "second.log", **settings) as server:
        assert health(server)["engine"] == "openvino"
        enhanced(server, astronaut_png)


def test_a_cache_that_cannot_be_written_leaves_pytorch(tmp_path, astronaut_png):
    settings = small_model(tmp_path, engine="auto", precision="auto")
    (tmp_path / "cache").write_text("a file, no folder")
    with serving(tmp_path / "log", **settings) as server:
        deadline = time.monotonic() + 60
        while "no other engine could be prepared" not in server.log.read_text():
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.2)
        assert health(server)["status"] == "ok"
        enhanced(server, astronaut_png)
