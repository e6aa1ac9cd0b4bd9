"""The photo around the faces, enlarged by networks with seeded weights, and without any."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.deadline import Deadline
from app.errors import DeadlineExceeded, MemoryFull
from app.faces import upscale
from app.faces.upscale import Upscaler, enlarge, make_upscaler, upscaled
from app.imaging.photo import Photo
from app.pace import Pace
from app.serving.networks import find_upscalers
from app.settings import Settings
from model.checkpoints.table import OFFICIAL_LICENCE
from model.networks.super_resolution import Margins, SuperResolution
from model.state_dicts import WeightsError
from tests.conftest import Server, serving
from tests.upscalers import seeded_rrdbnet, state_of

CPU = torch.device("cpu")
Make = Callable[[int], Upscaler]


@pytest.fixture(scope="module")
def upscalers() -> dict[int, Upscaler]:
    return {
        scale: make_upscaler(f"seeded-x{scale}", SuperResolution(seeded_rrdbnet(scale)), 1)
        for scale in (2, 4)
    }


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscale, "CORE", 50)


def photo_of(pixels: NDArray[np.generic], *, grey: bool = False) -> Photo:
    return Photo(pixels, None, grey, file_format="png", exif=b"", icc_profile=None)


def by_network(network: SuperResolution, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """In one piece, by basicsr's own ``forward``: levels, without bounds of memory."""
    x = torch.from_numpy(photo.astype(np.float32)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        result: NDArray[np.float32] = network.network(x)[0].permute(1, 2, 0).numpy() * 255
    return result.clip(0, 255)


@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_leave_no_seam(
    scale: int, upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8], small_tiles: None
) -> None:
    network = SuperResolution(
        seeded_rrdbnet(scale, num_block=6)  # sees 90 features far
    )
    photo = astronaut[40:182, 150:270]  # of two times two tiles or more
    tiled = enlarge(replace(upscalers[scale], network=network), photo, scale, grey=False)
    assert tiled.shape == (142 * scale, 120 * scale, 3)
    assert tiled.std() > 20
    assert np.abs(tiled - by_network(network, photo)).max() <= 1


def test_without_a_margin_there_are_seams(
    monkeypatch: pytest.MonkeyPatch,
    upscalers: dict[int, Upscaler],
    astronaut: NDArray[np.uint8],
    small_tiles: None,
) -> None:
    """So the test above can fail."""
    monkeypatch.setattr(upscale, "HALO", 0)
    photo = astronaut[40:182, 150:270]
    tiled = enlarge(upscalers[4], photo, 4, grey=False)
    assert np.abs(tiled - by_network(upscalers[4].network, photo)).max() > 10


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (55, 31)])
def test_any_size(
    scale: int,
    size: tuple[int, int],
    upscalers: dict[int, Upscaler],
    astronaut: NDArray[np.uint8],
    small_tiles: None,
) -> None:
    height, width = size
    photo = astronaut[100 : 100 + height, 200 : 200 + width]
    result = enlarge(upscalers[scale], photo, scale, grey=False)
    assert result.shape == (height * scale, width * scale, 3)
    fold = upscalers[scale].network.fold
    even = np.pad(photo, ((0, -height % fold), (0, -width % fold), (0, 0)), mode="reflect")
    expected = by_network(upscalers[scale].network, even)[: height * scale, : width * scale]
    assert np.abs(result - expected).max() <= 1


def test_a_network_for_two_is_used_twice_for_four(
    upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]
) -> None:
    photo = astronaut[100:130, 200:241]
    twice = enlarge(upscalers[2], enlarge(upscalers[2], photo, 2, grey=False), 2, grey=False)
    assert (enlarge(upscalers[2], photo, 4, grey=False) == twice).all()


def test_what_a_network_for_four_gives_is_reduced_for_two(
    upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8], small_tiles: None
) -> None:
    photo = astronaut[100:151, 200:241]
    four = by_network(upscalers[4].network, photo)
    expected = four.reshape(51 * 2, 2, 41 * 2, 2, 3).mean((1, 3))
    assert np.abs(enlarge(upscalers[4], photo, 2, grey=False) - expected).max() <= 1


def test_sixteen_bits_are_sixteen_bits(
    upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]
) -> None:
    shallow = astronaut[100:130, 200:240]
    deep = (shallow.astype(np.uint16) << 8) + np.arange(40, dtype=np.uint16)[None, :, None]
    result = enlarge(upscalers[4], deep, 4, grey=False)
    assert result.dtype == np.uint16
    assert len(np.unique(result)) > 10_000
    assert len(np.unique(result & 0xFF)) == 256
    eight = enlarge(upscalers[4], (deep / 257).round().astype(np.uint8), 4, grey=False)
    assert np.abs(result / 257 - eight).mean() < 1


def test_grey_stays_grey(upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]) -> None:
    grey = np.repeat(astronaut[100:130, 200:240, :1], 3, axis=2)
    photo, by = upscaled(photo_of(grey, grey=True), 2, upscalers[2])
    assert (photo.pixels == photo.pixels[..., :1]).all()
    assert by == "seeded-x2"
    colours = enlarge(upscalers[2], grey, 2, grey=False)
    assert (colours != colours[..., :1]).any()  # the network knows nothing of it
    assert np.abs(photo.pixels[..., 0] - colours.mean(2)).max() <= 1


@pytest.mark.parametrize("name", ["bicubic", "seeded-x4"])
def test_alpha_is_enlarged_without_overshoot(
    name: str, upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]
) -> None:
    alpha = np.full((30, 40), 100, np.uint8)
    alpha[:, 20:] = 200
    before = replace(photo_of(astronaut[100:130, 200:240]), alpha=alpha)
    after, by = upscaled(before, 4, upscalers[4] if name != "bicubic" else None)
    assert by == name
    assert after.alpha is not None
    assert after.alpha.shape == (120, 160)
    assert (after.alpha.min(), after.alpha.max()) == (100, 200)
    assert (after.width, after.height) == (160, 120)


def test_without_a_network_bicubic(astronaut: NDArray[np.uint8]) -> None:
    small = cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA)
    photo, by = upscaled(photo_of(small), 4)
    assert by == "bicubic"
    bilinear = cv2.resize(small, (512, 512), interpolation=cv2.INTER_LINEAR)
    assert cv2.PSNR(photo.pixels, astronaut) > cv2.PSNR(bilinear, astronaut) + 0.5


def test_the_same_size_is_left_alone(
    upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]
) -> None:
    photo = photo_of(astronaut)
    assert upscaled(photo, 1, upscalers[2]) == (photo, None)


def test_what_cannot_be_done_in_time_is_done_by_bicubic(
    upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]
) -> None:
    slow = replace(upscalers[2], pace=Pace(1.0))  # a second a feature
    photo = photo_of(astronaut[:32, :32])
    after, by = upscaled(photo, 2, slow, Deadline(255))
    assert (by, after.width) == ("bicubic", 64)
    _, by = upscaled(photo, 2, slow, Deadline(330))  # 16 x 16 features, and a fifth for the rest
    assert by == "seeded-x2"


def test_the_pace_is_learned(upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]) -> None:
    pace = Pace(1.0)
    enlarge(replace(upscalers[4], pace=pace), astronaut[:64, :64], 4, grey=False)
    assert pace.seconds < 1


class Slow(SuperResolution):
    def forward(self, x: Tensor, margins: Margins = (0, 0, 0, 0)) -> Tensor:
        time.sleep(0.3)
        return super().forward(x, margins)


def test_the_deadline_is_looked_at_between_tiles_and_within(
    monkeypatch: pytest.MonkeyPatch, upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]
) -> None:
    monkeypatch.setattr(upscale, "CORE", 20)
    monkeypatch.setattr(upscale, "HALO", 0)
    slow = replace(upscalers[4], network=Slow(seeded_rrdbnet(4)))
    start = time.perf_counter()
    with pytest.raises(DeadlineExceeded):
        enlarge(slow, astronaut[:200, :200], 4, Deadline(0.5), grey=False)
    seconds = time.perf_counter() - start
    assert seconds < 15  # a hundred tiles would take half a minute
    ended = Deadline(100)
    ended.end()
    with pytest.raises(DeadlineExceeded):
        enlarge(slow, astronaut[:50, :50], 4, ended, grey=False)


def test_photos_that_come_at_once_are_done_in_time_all_the_same(
    monkeypatch: pytest.MonkeyPatch, upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]
) -> None:
    """One by the network, for which the others wait only as long as it leaves them time."""
    monkeypatch.setattr(upscale, "CORE", 20)
    monkeypatch.setattr(upscale, "HALO", 0)
    seconds_a_feature = 0.3 / 20**2
    slow = replace(upscalers[4], network=Slow(seeded_rrdbnet(4)), pace=Pace(seconds_a_feature))
    photo = photo_of(astronaut[:60, :60])
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(upscaled, photo, 4, slow, Deadline(20)) for _ in range(4)]
        by = [future.result()[1] for future in futures]
    assert "seeded-x4" in by
    assert set(by) <= {"seeded-x4", "bicubic"}
    assert not slow.turn.locked()


class Cramped(SuperResolution):
    """On a device that has room for so many features."""

    room = 0

    def forward(self, x: Tensor, margins: Margins = (0, 0, 0, 0)) -> Tensor:
        if x.shape[2] * x.shape[3] / self.fold**2 > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x, margins)


@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_get_smaller_where_memory_is_short(
    scale: int, upscalers: dict[int, Upscaler], astronaut: NDArray[np.uint8]
) -> None:
    cramped = Cramped(seeded_rrdbnet(scale))
    photo = astronaut[100:421, 100:361]
    upscaler = replace(upscalers[scale], network=cramped)
    cramped.room = 150 * 150
    result = enlarge(upscaler, photo, scale, grey=False)
    expected = enlarge(upscalers[scale], photo, scale, grey=False)
    assert np.abs(result.astype(int) - expected).max() <= 1
    cramped.room = 100
    with pytest.raises(MemoryFull, match="too little memory to enlarge"):
        enlarge(upscaler, photo, scale, grey=False)


def test_what_is_not_finite_is_no_picture(tmp_path: Path) -> None:
    network = seeded_rrdbnet(4)
    network.conv_hr.bias[0] = math.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        make_upscaler("broken", SuperResolution(network), 1)
    torch.save(state_of(network), tmp_path / "RealESRGAN_x4plus.pth")
    with pytest.raises(WeightsError, match=r"RealESRGAN_x4plus.pth: .*not finite"):
        find_upscalers(Settings(weights_dir=tmp_path), CPU, commercial=True)


@pytest.fixture
def folder(tmp_path: Path, no_modelscope: Path) -> Callable[..., Settings]:
    """A machine with these upscalers in its folder of weights."""

    def make(**files: int) -> Settings:
        for name, scale in files.items():
            torch.save({"params_ema": state_of(seeded_rrdbnet(scale))}, tmp_path / f"{name}.pth")
        return Settings(weights_dir=tmp_path, cache_dir=tmp_path / "cache")

    return make


NET_X2, GAN_X2 = "realesrnet_x2", "RealESRGAN_x2plus"
NET_X4, GAN_X4 = "RealESRNet_x4plus", "RealESRGAN_x4plus"


@pytest.mark.parametrize(
    ("files", "commercial", "names"),
    [
        ([], False, {}),
        ([NET_X2], False, {2: "realesrnet-x2", 4: "realesrnet-x2"}),
        ([GAN_X4], False, {2: "realesrgan-x4plus", 4: "realesrgan-x4plus"}),
        ([NET_X4, GAN_X4], True, {2: "realesrnet-x4plus", 4: "realesrnet-x4plus"}),
        ([NET_X2, GAN_X2, GAN_X4], False, {2: "realesrnet-x2", 4: "realesrgan-x4plus"}),
        ([NET_X2, GAN_X2, GAN_X4], True, {2: "realesrgan-x2plus", 4: "realesrgan-x4plus"}),
        ([NET_X2], True, {}),
    ],
)
def test_which_network_is_taken(
    folder: Callable[..., Settings],
    no_network: None,
    files: list[str],
    commercial: bool,
    names: dict[int, str],
) -> None:
    """Made for the scale before made for the other; for academic use only where that is known."""
    settings = folder(**{name: 2 if "x2" in name else 4 for name in files})
    found = find_upscalers(settings, CPU, commercial=commercial)
    assert {scale: upscaler.name for scale, upscaler in found.items()} == names


def test_modelscopes_copy_is_found(
    folder: Callable[..., Settings], no_modelscope: Path, no_network: None
) -> None:
    snapshot = "models/iic--cv_gpen_image-portrait-enhancement/snapshots/master/super_resolution"
    path = no_modelscope / snapshot / "realesrnet_x2.pth"
    path.parent.mkdir(parents=True)
    torch.save({"params_ema": state_of(seeded_rrdbnet(2))}, path)
    found = find_upscalers(folder(), CPU, commercial=False)
    assert found[2].name == "realesrnet-x2"


def post(server: Server, photo: bytes, accept: str = "*/*", **fields: str) -> httpx2.Response:
    return httpx2.post(
        f"{server.url}/enhance",
        files={"file": photo},
        data=fields,
        headers={"Accept": accept},
        timeout=110,
    )


@pytest.fixture(scope="module")
def with_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("weights")
    torch.save({"params_ema": state_of(seeded_rrdbnet(4))}, folder / f"{GAN_X4}.pth")
    torch.save({"params_ema": state_of(seeded_rrdbnet(2))}, folder / f"{NET_X2}.pth")
    settings = {"GPEN_WEIGHTS_DIR": str(folder), "GPEN_REQUEST_TIMEOUT_S": "100"}
    with serving(folder / "log", GPEN_MODEL="gpen-starter-256", **settings) as running:
        yield running


@pytest.mark.parametrize("factor", [2, 4])
def test_the_answer_says_what_enlarged_the_photo(
    factor: int, with_weights: Server, astronaut: NDArray[np.uint8]
) -> None:
    crop = np.ascontiguousarray(astronaut[:201, 120:321])
    buffer = BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    answer = post(with_weights, buffer.getvalue(), "application/json", upscale=str(factor))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["upscaler"] == answer.headers["x-upscaler"] == "realesrgan-x4plus"
    assert (body["width"], body["height"]) == (201 * factor, 201 * factor)
    pixels = np.asarray(Image.open(BytesIO(base64.b64decode(body["image"]))))
    expected = enlarge(
        make_upscaler("same", SuperResolution(seeded_rrdbnet(4)), 1), crop, factor, grey=False
    )
    corner = slice(0, 30)
    assert np.abs(pixels[corner, corner].astype(int) - expected[corner, corner]).max() <= 1
    assert OFFICIAL_LICENCE not in with_weights.log.read_text()


def test_nothing_is_said_where_nothing_was_enlarged(
    with_weights: Server, astronaut_png: bytes
) -> None:
    answer = post(with_weights, astronaut_png, "application/json")
    assert answer.json()["upscaler"] is None
    assert "x-upscaler" not in answer.headers


def test_a_network_does_not_enlarge_what_a_face_covers(
    with_weights: Server, astronaut: NDArray[np.uint8]
) -> None:
    buffer = BytesIO()
    Image.fromarray(astronaut[20:220, 120:320]).save(buffer, "PNG")
    answer = post(with_weights, buffer.getvalue(), upscale="2", aligned="true")
    assert answer.headers["x-upscaler"] == "bicubic"


def test_without_weights_it_says_bicubic(server: Server, astronaut_png: bytes) -> None:
    answer = post(server, astronaut_png, upscale="2")
    assert answer.headers["x-upscaler"] == "bicubic"
