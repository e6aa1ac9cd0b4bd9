"""How crops are parsed, in what time, and by what weights."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.deadline import Deadline
from app.errors import DeadlineExceeded
from app.faces import parsing
from app.faces.mask import CLASSES, oval, parsed
from app.faces.parsing import FaceParser, load_parser, make_parser
from app.imaging.photo import Pixels
from model.checkpoints.table import PARSENET_FACEXLIB, PARSENET_GPEN
from model.checkpoints.templates import landmark_template
from model.state_dicts import WeightsError
from tests.parsers import Known, normalised, person, seeded_parsenet

CPU = torch.device("cpu")
TEMPLATE = landmark_template("gpen", 256)
OVAL = oval(TEMPLATE, 256)
NAMES = PARSENET_FACEXLIB.file_name, PARSENET_GPEN.file_name


def crops(*levels: int, size: int = 256) -> list[Pixels]:
    return [np.full((size, size, 3), level, np.uint8) for level in levels]


# --- a crop, and its classes


@pytest.mark.parametrize("size", [256, 512])
def test_a_crop_is_shown_as_by_facexlib(size: int) -> None:
    """As in its inference/inference_parsing_parsenet.py: RGB in [-1, 1], enlarged linearly."""
    from facexlib.utils.misc import img2tensor
    from torchvision.transforms.functional import normalize

    crop = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    shown = cv2.resize(crop[..., ::-1], (512, 512), interpolation=cv2.INTER_LINEAR)
    expected = img2tensor(shown.astype("float32") / 255.0, bgr2rgb=True, float32=True)
    normalize(expected, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), inplace=True)
    network = Known(person())
    classes = FaceParser(network).classes(crop)
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, person())
    (seen,) = network.seen
    assert (seen - expected).abs().max() <= 1.01 / 127.5  # OpenCV rounds levels


def test_a_larger_crop_is_averaged() -> None:
    network = Known(person())
    crop = np.zeros((1024, 1024, 3), np.uint8)
    crop[::2] = 200  # would be flat at 200, or at 0, if rows were left out
    FaceParser(network).classes(crop)
    assert network.seen[0].mean() == pytest.approx(100 / 127.5 - 1, abs=1e-3)


def test_the_network_is_facexlibs(tmp_path: Path) -> None:
    """Its layers take crops of any size: a small one tells, and takes less time."""
    x = torch.rand((1, 3, 128, 128), generator=torch.Generator().manual_seed(0)) * 2 - 1
    network = normalised(seeded_parsenet(), x)
    torch.save(network.state_dict(), tmp_path / NAMES[0])
    expected = network(x)[0]
    scores = load_parser(tmp_path / NAMES[0], CPU)(x)[0]
    assert (scores - expected).abs().max() < 1e-3 * expected.std()
    quick = load_parser(tmp_path / NAMES[0], CPU, torch.bfloat16)(x.bfloat16())[0]
    assert quick.dtype == torch.bfloat16
    assert len(expected.argmax(1).unique()) == CLASSES
    assert (quick.argmax(1) == expected.argmax(1)).float().mean() > 0.9


def test_each_crop_has_its_own_mask() -> None:
    def by_brightness(x: Tensor) -> NDArray[np.uint8]:
        return person() if x.mean() > 0 else np.zeros((512, 512), np.uint8)

    masks = FaceParser(Known(by_brightness)).masks(crops(200, 50, 210), TEMPLATE)
    face = parsed(person(), TEMPLATE, 256)
    for mask, expected in zip(masks, [face, OVAL, face], strict=True):
        np.testing.assert_array_equal(mask, expected)
    assert FaceParser(Known(person())).masks([], TEMPLATE) == []


class Broken(Known):
    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        return super().forward(x)[0] * torch.nan, x


def test_what_is_not_a_number_is_no_face() -> None:
    (mask,) = FaceParser(Broken(person())).masks(crops(0), TEMPLATE)
    np.testing.assert_array_equal(mask, OVAL)


# --- time


class Clock:
    """Stands for the time: a network that is asked lets a second pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(parsing, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def network(self) -> Known:
        def work(_: Tensor) -> NDArray[np.uint8]:
            self.now += 1
            return person()

        return Known(work)


@pytest.mark.parametrize(
    ("remaining", "guess", "done"), [(7, 0, 3), (7, 1, 3), (7, 4, 0), (1, 1, 0), (100, 1, 5)]
)
def test_those_that_there_is_no_time_for_get_the_oval(
    monkeypatch: pytest.MonkeyPatch, remaining: float, guess: float, done: int
) -> None:
    """The first, which are the largest, are parsed, as long as half of the time lasts."""
    monkeypatch.setattr(Deadline, "remaining", remaining)
    network = Clock(monkeypatch).network()
    masks = FaceParser(network, seconds=guess).masks(crops(*range(5)), TEMPLATE, Deadline(99))
    assert len(network.seen) == done
    face = parsed(person(), TEMPLATE, 256)
    for mask, expected in zip(masks, [face] * done + [OVAL] * (5 - done), strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_when_nobody_waits_any_more_it_ends() -> None:
    deadline = Deadline(100)

    def leave(_: Tensor) -> NDArray[np.uint8]:
        deadline.end()
        return person()

    network = Known(leave)
    with pytest.raises(DeadlineExceeded):
        FaceParser(network).masks(crops(1, 2, 3), TEMPLATE, deadline)
    assert len(network.seen) == 1


def test_it_is_warmed_up_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Clock(monkeypatch).network()
    parser = make_parser(network, 1)
    assert len(network.seen) == 2
    assert (parser.seconds, parser.network) == (1, network)


def test_it_is_timed_with_the_threads_that_it_then_has() -> None:
    threads: list[int] = []

    def note(_: Tensor) -> NDArray[np.uint8]:
        threads.append(torch.get_num_threads())
        return person()

    make_parser(Known(note), 3).masks(crops(1), TEMPLATE)
    assert threads == [3, 3, 3]


def test_weights_that_are_not_finite_are_told_of_at_once() -> None:
    with pytest.raises(WeightsError, match="not finite"):
        make_parser(Broken(person()), 1)


def test_who_gets_no_turn_in_time_gets_the_oval() -> None:
    entered, done = threading.Event(), threading.Event()

    def wait(_: Tensor) -> NDArray[np.uint8]:
        entered.set()
        assert done.wait(60)
        return person()

    parser = FaceParser(Known(wait))
    with ThreadPoolExecutor(1) as other:
        first = other.submit(parser.masks, crops(1), TEMPLATE)
        assert entered.wait(60)
        masks = parser.masks(crops(1, 2), TEMPLATE, Deadline(2))
        done.set()
        np.testing.assert_array_equal(masks, [OVAL, OVAL])
        np.testing.assert_array_equal(first.result(60), [parsed(person(), TEMPLATE, 256)])


@pytest.mark.parametrize(
    "content", [b"x", {"module.weight": torch.zeros(3)}, "a layer short"], ids=str
)
def test_a_file_that_is_not_parsenets(tmp_path: Path, content: Any) -> None:
    path = tmp_path / NAMES[0]
    if content == b"x":
        path.write_bytes(content)
    else:
        if content == "a layer short":
            content = seeded_parsenet().state_dict()
            del content["out_mask_conv.conv2d.bias"]
        torch.save(content, path)
    with pytest.raises(WeightsError, match=r"parsing_parsenet\.pth") as caught:
        load_parser(path, CPU)
    assert len(str(caught.value).splitlines()) == 1
