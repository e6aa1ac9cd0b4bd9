"""A first start, which has to prepare its engine, and the second one."""

import time
from typing import Any

import httpx2
import pytest

from tests.app.engines.conftest import save_small_generator
from tests.conftest import Server, serving

pytest.importorskip("openvino", reason="there is no OpenVINO for this processor")


def health(server: Server) -> dict[str, Any]:
    answer: dict[str, Any] = httpx2.get(f"{server.url}/health").json()
    return answer


def enhanced(server: Server, photo: bytes) -> httpx2.Response:
    answer = httpx2.post(f"{server.url}/enhance", files={"file": photo}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-faces-restored"] == "1"
    return answer


def test_a_service_goes_over_to_the_engine_it_has_prepared(tmp_path, astronaut_png):
    weights = save_small_generator(tmp_path / "small.safetensors")
    settings = {
        "GPEN_MODEL": str(weights),
        "GPEN_CACHE_DIR": str(tmp_path / "cache"),
        "GPEN_ENGINE": "openvino",
        "GPEN_PRECISION": "fp32",
    }
    with serving(tmp_path / "first.log", **settings) as server:
        assert health(server)["engine"] == "torch"
        before = enhanced(server, astronaut_png)
        deadline = time.monotonic() + 120
        while health(server)["engine"] == "torch":
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.2)
        after = enhanced(server, astronaut_png)
        assert abs(len(after.content) - len(before.content)) < 0.01 * len(before.content)
    log = (tmp_path / "first.log").read_text()
    assert "from now on openvino restores, in fp32" in log
    assert "Traceback" not in log
    with serving(tmp_path / "second.log", **settings) as server:
        assert health(server)["engine"] == "openvino"
        enhanced(server, astronaut_png)


def test_a_cache_that_cannot_be_written_leaves_pytorch(tmp_path, astronaut_png):
    weights = save_small_generator(tmp_path / "small.safetensors")
    (tmp_path / "cache").write_text("a file, no folder")
    settings = {
        "GPEN_MODEL": str(weights),
        "GPEN_CACHE_DIR": str(tmp_path / "cache"),
        "GPEN_ENGINE": "auto",
        "GPEN_PRECISION": "auto",
    }
    with serving(tmp_path / "log", **settings) as server:
        deadline = time.monotonic() + 60
        while "no other engine could be prepared" not in server.log.read_text():
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.2)
        assert health(server)["status"] == "ok"
        enhanced(server, astronaut_png)
