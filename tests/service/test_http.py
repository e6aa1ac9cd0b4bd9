"""The service as its users see it: a real server over HTTP."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.client import TIMEOUT, assert_problem, enhance, pixels
from tests.conftest import Server, encode_png


@pytest.fixture(scope="module")
def degraded(astronaut: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The astronaut as an old phone would have sent her: noisy, then compressed hard."""
    noisy = astronaut + np.random.default_rng(0).normal(0, 18, astronaut.shape)
    buffer = BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def test_a_degraded_face_comes_back_nearer_to_the_original(
    server: Server, astronaut: NDArray[np.uint8], degraded: NDArray[np.uint8]
) -> None:
    response = enhance(server, encode_png(degraded))
    restored = pixels(response)
    assert restored.shape == degraded.shape
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-faces-detected"] == response.headers["x-faces-restored"] == "1"
    assert response.headers["x-model"] == "gpen-starter-256"
    stages = re.findall(r"(\w+);dur=[\d.]+", response.headers["server-timing"])
    assert stages == ["wait", "decode", "detect", "queue", "restore", "paste", "encode"]

    face = (slice(70, 170), slice(180, 270))
    error = [
        np.square(p[face].astype(float) - astronaut[face]).mean() for p in (degraded, restored)
    ]
    assert error[1] < 0.8 * error[0]
    outside = np.ones((512, 512), bool)
    outside[:320, 60:400] = False
    np.testing.assert_array_equal(restored[outside], degraded[outside])


def test_json_on_request(server: Server, degraded: NDArray[np.uint8]) -> None:
    response = enhance(server, encode_png(degraded), {"Accept": "application/json"}, upscale=2)
    body = response.json()
    image = Image.open(BytesIO(base64.b64decode(body["image"])))
    assert image.size == (body["width"], body["height"]) == (1024, 1024)
    assert body["media_type"] == "image/png"
    (face,) = body["faces"]
    x0, y0, x1, y1 = face["box"]
    assert 0 <= x0 < x1 <= 1024
    assert 0 <= y0 < y1 <= 1024
    assert face["restored"]
    assert face["reason"] is None
    assert 0.9 < face["score"] <= 1
    assert all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in face["landmarks"])
    stages = {"wait", "decode", "detect", "queue", "restore", "paste", "encode"}
    assert body["timings_ms"].keys() == stages


def test_strength_zero_is_the_photo(
    server: Server, astronaut_png: bytes, astronaut: NDArray[np.uint8]
) -> None:
    np.testing.assert_array_equal(pixels(enhance(server, astronaut_png, strength=0)), astronaut)


def test_no_face(server: Server) -> None:
    photo = np.full((200, 300, 3), 120, np.uint8)
    response = enhance(server, encode_png(photo))
    np.testing.assert_array_equal(pixels(response), photo)
    assert response.headers["x-faces-detected"] == "0"
    assert_problem(enhance(server, encode_png(photo), require_face=True), 422)


def test_aligned_crop(server: Server, astronaut: NDArray[np.uint8]) -> None:
    crop = encode_png(astronaut[20:220, 130:330])
    response = enhance(server, crop, aligned=True)
    assert pixels(response).shape == (200, 200, 3)
    assert response.headers["x-faces-restored"] == "1"
    assert_problem(enhance(server, encode_png(astronaut[:200, :199]), aligned=True), 422)


@pytest.mark.parametrize(("wanted", "media_type"), [("jpeg", "image/jpeg"), ("webp", "image/webp")])
def test_format(server: Server, astronaut_png: bytes, wanted: str, media_type: str) -> None:
    response = enhance(server, astronaut_png, format=wanted, quality=80)
    assert response.headers["content-type"] == media_type
    assert pixels(response).shape == (512, 512, 3)


def test_a_group_and_the_choice_of_faces(server: Server, astronaut: NDArray[np.uint8]) -> None:
    """Three people: a large one on the left, a small one in the middle."""
    group = np.full((700, 1800, 3), 180, np.uint8)
    head = astronaut[:300, 80:380]
    for x, side in ((20, 600), (760, 300), (1300, 420)):
        resized = cv2.resize(head, (side, side), interpolation=cv2.INTER_CUBIC)
        group[50 : 50 + side, x : x + side] = resized
    data, accept = encode_png(group), {"Accept": "application/json"}

    faces = {
        choice: enhance(server, data, accept, faces=choice).json()["faces"]
        for choice in ("all", "largest", "center")
    }
    assert [face["restored"] for face in faces["all"]] == [True] * 3
    for choice, expected_x in (("largest", 320), ("center", 910)):
        (restored,) = [face for face in faces[choice] if face["restored"]]
        assert abs((restored["box"][0] + restored["box"][2]) / 2 - expected_x) < 100
        assert {f["reason"] for f in faces[choice] if not f["restored"]} == {"not selected"}


def test_one_pixel_and_odd_kinds_of_pictures(server: Server, astronaut: NDArray[np.uint8]) -> None:
    image = Image.fromarray(astronaut)
    levels = np.asarray(image.convert("L")).astype(np.uint16) * 257
    kinds = {
        "one pixel": Image.new("RGB", (1, 1)),
        "thin": Image.new("RGB", (3000, 2)),
        "grey": image.convert("L"),
        "palette": image.quantize(64),
        "transparent": image.convert("RGBA"),
        "16 bits": Image.fromarray(levels),
        "bilevel": image.convert("1"),
    }
    for name, kind in kinds.items():
        buffer = BytesIO()
        kind.save(buffer, format="PNG")
        result = Image.open(BytesIO(enhance(server, buffer.getvalue()).content))
        assert result.size == kind.size, name
        assert result.mode == {
            "grey": "L",
            "16 bits": "I;16",
            "bilevel": "L",
            "transparent": "RGBA",
        }.get(name, "RGB"), name


def test_an_animation_gives_its_first_frame(server: Server, astronaut: NDArray[np.uint8]) -> None:
    frames = [Image.fromarray(astronaut), Image.new("RGB", (512, 512), "red")]
    buffer = BytesIO()
    frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:], lossless=True)
    result = pixels(enhance(server, buffer.getvalue(), format="png", strength=0))
    np.testing.assert_array_equal(result, astronaut)


def test_deadline(server: Server, astronaut: NDArray[np.uint8]) -> None:
    large = encode_png(np.asarray(cv2.resize(astronaut, (3000, 3000)), dtype=np.uint8))
    assert_problem(enhance(server, large, {"X-Request-Timeout": "0.01"}), 504)
    for nonsense in ("-1", "nan", "soon", "0", "5e-324", "0.0009"):
        assert_problem(enhance(server, large, {"X-Request-Timeout": nonsense}), 422)


def test_request_ids(server: Server) -> None:
    health = f"{server.url}/health"
    for harmless in ("abc", "A.b_c-1" * 10):
        answer = httpx2.get(health, headers={"X-Request-ID": harmless})
        assert answer.headers["x-request-id"] == harmless
    for harmful in ("a b", "x" * 129, "é".encode().decode("latin-1"), "<script>"):
        answer = httpx2.get(health, headers={b"X-Request-ID": harmful.encode("latin-1")})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_health(server: Server) -> None:
    health = httpx2.get(f"{server.url}/health").json()
    assert health["status"] == "ok"
    assert health["model"] == "gpen-starter-256"
    assert health["licence"]
    assert (health["engine"], health["precision"]) == ("torch", "fp32")
    assert health["queue"] == {"faces": 0, "limit": 256}
    assert httpx2.get(f"{server.url}/health/live").status_code == 200
    assert httpx2.get(f"{server.url}/health/ready").status_code == 200
    assert httpx2.get(f"{server.url}/openapi.json").status_code == 200


def variants(astronaut: NDArray[np.uint8], count: int) -> list[NDArray[np.uint8]]:
    """Different photos of one face: other colours, sizes and places."""
    rng = np.random.default_rng(0)
    photos = []
    for _ in range(count):
        side = int(rng.integers(300, 512))
        photo = cv2.resize(astronaut[:380, 40:420], (side, side), interpolation=cv2.INTER_AREA)
        tinted = photo * rng.uniform(0.7, 1.1, 3) + rng.uniform(-15, 15, 3)
        photos.append(np.clip(tinted, 0, 255).astype(np.uint8))
    return photos


def test_32_photos_at_once_each_get_their_own(server: Server, astronaut: NDArray[np.uint8]) -> None:
    photos = [encode_png(photo) for photo in variants(astronaut, 32)]
    alone = [pixels(enhance(server, photo)) for photo in photos[:6]]
    mark = len(server.log.read_text())
    health: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            start = time.perf_counter()
            assert httpx2.get(f"{server.url}/health", timeout=TIMEOUT).status_code == 200
            health.append(time.perf_counter() - start)
            time.sleep(0.05)

    with ThreadPoolExecutor(33) as pool:
        watcher = pool.submit(watch)
        together = list(pool.map(lambda photo: pixels(enhance(server, photo)), photos))
        done.set()
        watcher.result()

    for photo, result in zip(variants(astronaut, 32), together, strict=True):
        assert result.shape == photo.shape
        border = np.r_[0 : photo.shape[0]], 0
        np.testing.assert_array_equal(result[border], photo[border])  # its own photo, not another's
        assert (result != photo).any()
    for one, among_others in zip(alone, together, strict=False):
        assert np.abs(one.astype(int) - among_others).max() <= 1
    batches = [int(n) for n in re.findall(r"a batch of (\d+) faces", server.log.read_text()[mark:])]
    assert sum(batches) == 32
    assert max(batches) > 1
    assert np.median(health) < 1


def test_solvay(server: Server, shared: Callable[[str], Path]) -> None:
    data = shared("photos/Solvay_conference_1927.png").read_bytes()
    response = enhance(server, data)
    assert response.headers["x-faces-detected"] == response.headers["x-faces-restored"] == "29"
    assert Image.open(BytesIO(response.content)).size == Image.open(BytesIO(data)).size


def test_32_people_at_once(server: Server, shared: Callable[[str], Path]) -> None:
    """Different people: no answer shows anybody else."""
    paths = sorted(shared("faces/256").glob("*.jpg"))[:32]
    with ThreadPoolExecutor(32) as pool:
        answers = list(
            pool.map(lambda path: enhance(server, path.read_bytes(), format="png"), paths)
        )
    originals = [np.asarray(Image.open(path).convert("RGB")).astype(float) for path in paths]
    for i, answer in enumerate(answers):
        assert answer.headers["x-faces-restored"] == "1"
        differences = [np.abs(pixels(answer) - original).mean() for original in originals]
        assert int(np.argmin(differences)) == i
