"""How crops are parsed, what is made of it in a photo, and which weights are taken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app import load as loading
from app import parsing
from app.bulk.machine import enhance_alone
from app.bulk.plan import Job
from app.deadline import Deadline
from app.errors import DeadlineExceeded
from app.guard import Guard
from app.load import Loaded, find_parser, load
from app.mask import CLASSES, oval, parsed
from app.options import EnhanceOptions
from app.parsing import FaceParser, load_parser, make_parser
from app.photo import Pixels
from app.pipeline import Enhanced, FaceReport, FoundFaces, find, finish
from app.settings import Settings
from model.checkpoints import BFR_256, PARSENET_FACEXLIB, PARSENET_GPEN
from model.templates import landmark_template
from model.weights import WeightsError
from tests.app.running import Restorer, post, running, wait_for
from tests.conftest import encode_png
from tests.parsers import BACKGROUND, SKIN, Known, normalised, person, seeded_parsenet, seeing_skin

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
        masks = parser.masks(crops(1, 2), TEMPLATE, Deadline(0.5))
        done.set()
        np.testing.assert_array_equal(masks, [OVAL, OVAL])
        np.testing.assert_array_equal(first.result(60), [parsed(person(), TEMPLATE, 256)])


# --- in the pipeline


def found_in(photo: Pixels, loaded: Loaded, **options: Any) -> FoundFaces:
    wanted = EnhanceOptions(**options)
    return find(encode_png(photo), wanted, Settings().limits, loaded.detector, loaded.restorer)


def enhanced(
    loaded: Loaded, photo: Pixels, parser: FaceParser | None, **options: Any
) -> tuple[Enhanced, Pixels]:
    """With a brighter crop for a restored one."""
    wanted = EnhanceOptions(match_colour=False, **options)
    found = found_in(photo, loaded, **options)
    restored = [np.clip(crop + 25.0, 0, 255).astype(np.uint8) for crop in found.crops]
    result = finish(found, restored, wanted, guard=loaded.guard, parser=parser)
    return result, np.asarray(Image.open(BytesIO(result.picture.data)))


def test_what_is_parsed_is_what_is_pasted(loaded: Loaded, astronaut: Pixels) -> None:
    network = Known(person())
    _, by_oval = enhanced(loaded, astronaut, None)
    _, by_head = enhanced(loaded, astronaut, FaceParser(network))
    assert (by_oval != by_head).any()
    (seen,) = network.seen
    brighter = cv2.resize(
        np.clip(found_in(astronaut, loaded).crops[0] + 25.0, 0, 255).astype(np.uint8), (512, 512)
    )
    shown = ((seen[0].permute(1, 2, 0) + 1) * 127.5).numpy()
    assert np.abs(shown - brighter).max() <= 1  # the restored crop, not the photo's


def test_a_hand_before_a_face_is_as_photographed(loaded: Loaded, astronaut: Pixels) -> None:
    classes = person()
    classes[260:400] = BACKGROUND
    _, restored = enhanced(loaded, astronaut, FaceParser(Known(classes)))
    _, without = enhanced(loaded, astronaut, FaceParser(Known(person())))
    changed = (restored != astronaut).any(2)
    hidden = (without != astronaut).any(2) & ~changed
    rows = np.flatnonzero(hidden.any(1))
    assert hidden.sum() > 500  # all of a band in its middle, where a face would have been pasted
    assert not changed[int(np.median(rows))].any()
    assert changed.any()


@pytest.mark.parametrize("upscale", [1, 2])
def test_where_parsing_fails_it_is_as_without(
    loaded: Loaded, astronaut: Pixels, upscale: int
) -> None:
    nothing = FaceParser(Known(np.zeros((512, 512), np.uint8)))
    without, _ = enhanced(loaded, astronaut, None, upscale=upscale)
    failed, _ = enhanced(loaded, astronaut, nothing, upscale=upscale)
    assert failed.picture.data == without.picture.data


def test_an_aligned_picture_is_replaced_as_a_whole(loaded: Loaded, astronaut: Pixels) -> None:
    network = Known(person())
    photo = np.ascontiguousarray(astronaut[20:220, 130:330])
    without, _ = enhanced(loaded, photo, None, aligned=True)
    result, _ = enhanced(loaded, photo, FaceParser(network), aligned=True)
    assert result.picture.data == without.picture.data
    assert not network.seen


def test_a_face_that_the_guard_refuses_is_not_parsed(loaded: Loaded, astronaut: Pixels) -> None:
    class RefusesTheFirst(Guard):
        def refusals(self, before: Any, *_: Any, **__: Any) -> Any:
            return ["identity", *[None] * (len(before) - 1)]

    network = Known(person())
    twins = np.hstack([astronaut, astronaut[:, ::-1]])
    strict = replace(loaded, guard=RefusesTheFirst())
    result, pixels = enhanced(strict, twins, FaceParser(network))
    assert [report.restored for report in result.reports] == [False, True]
    assert len(network.seen) == 1
    side = np.s_[:, 512:] if result.reports[0].face.box[0] > 512 else np.s_[:, :512]
    np.testing.assert_array_equal(pixels[side], twins[side])


@pytest.mark.parametrize(("away", "seen"), [(60, 0), (400, 1)])
def test_one_left_alone_is_not_taken_for_hair_of_its_neighbour(
    loaded: Loaded, astronaut: Pixels, away: float, seen: int
) -> None:
    """Parsing does not part heads that touch."""
    found = found_in(astronaut, loaded)
    (own,) = found.reports
    beside = replace(own.face, landmarks=own.face.landmarks + np.array([away, 0], np.float32))
    found = replace(found, reports=(own, FaceReport(beside, restored=False, reason="limit")))
    network = Known(person())
    finish(found, found.crops, EnhanceOptions(), parser=FaceParser(network))
    assert len(network.seen) == seen


def test_no_step_on_a_wall(loaded: Loaded, astronaut: Pixels) -> None:
    """A restoration brighter by 25 levels shows no border on what was plain, hair or not."""
    found = found_in(astronaut, loaded)
    found = replace(found, photo=replace(found.photo, pixels=np.full_like(astronaut, 120)))
    restored = [np.full_like(found.crops[0], 145)]
    for classes in (person(), np.full((512, 512), SKIN, np.uint8)):
        options = EnhanceOptions(match_colour=False)
        result = finish(found, restored, options, parser=FaceParser(Known(classes)))
        pixels = np.asarray(Image.open(BytesIO(result.picture.data))).astype(int)[..., 0]
        assert pixels.max() == 145
        assert max(np.abs(np.diff(pixels, axis=axis)).max() for axis in (0, 1)) <= 2


# --- weights


@pytest.fixture
def folder(tmp_path: Path, no_modelscope: None) -> Callable[..., Settings]:
    def make(*names: str) -> Settings:
        for name in names:
            (tmp_path / name).write_bytes(b"x")
        return Settings(weights_dir=tmp_path, cache_dir=tmp_path / "cache")

    return make


@pytest.mark.parametrize(
    ("names", "taken"),
    [((), None), (NAMES[:1], NAMES[0]), (NAMES[1:], NAMES[1]), (NAMES, NAMES[0])],
)
def test_which_file_is_taken(
    folder: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    no_network: None,
    names: tuple[str, ...],
    taken: str | None,
) -> None:
    monkeypatch.setattr(loading, "load_parser", lambda path, *_: path)
    monkeypatch.setattr(loading, "make_parser", lambda path, _: path.name)
    settings = folder(*names)
    found: Any = find_parser(settings, CPU, commercial=False)
    assert found == taken
    assert find_parser(settings, CPU, commercial=True) is None  # for academic use only


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32", "fp16"])
def test_it_is_quick_where_it_may_be(
    folder: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, precision: Any, there: bool
) -> None:
    monkeypatch.setattr(loading, "load_parser", lambda *arguments: arguments[-1])
    monkeypatch.setattr(loading, "make_parser", lambda dtype, _: dtype)
    monkeypatch.setattr(loading, "_has_quick_bfloat16", lambda _: there)
    settings = folder(*NAMES).model_copy(update={"precision": precision})
    quick = there and precision in ("auto", "bf16")
    found: Any = find_parser(settings, CPU, commercial=False)
    assert found == (torch.bfloat16 if quick else torch.float32)


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


@pytest.fixture(scope="module")
def academic(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A seeded generator under an academic one's name, and a seeded ParseNet that sees skin."""
    weights = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(BFR_256.architecture.generator().state_dict(), weights / BFR_256.file_name)
    torch.save(seeing_skin(seeded_parsenet()).state_dict(), weights / NAMES[1])
    return load(
        Settings(
            model="gpen-bfr-256", weights_dir=weights, cache_dir=weights / "cache", guard=False
        )
    )


def test_seeded_weights_are_served(
    academic: Loaded, monkeypatch: pytest.MonkeyPatch, astronaut_png: bytes, astronaut: Pixels
) -> None:
    assert academic.parser is not None
    assert academic.parser.seconds > 0
    restorer: Any = Restorer(academic, lambda crops: np.clip(crops + 25.0, 0, 255).astype(np.uint8))

    def serve(loaded: Loaded, _: Settings) -> Loaded:
        return loaded

    pictures = []
    for parser in (academic.parser, None):
        loaded = replace(academic, restorer=restorer, parser=parser)
        with running(monkeypatch, partial(serve, loaded), request_timeout_s=600) as (client, _):
            wait_for(client, "ok")
            answer = post(client, astronaut_png)
            assert (answer.status_code, answer.headers["x-faces-restored"]) == (200, "1")
            pictures.append(np.asarray(Image.open(BytesIO(answer.content))))
    changed = [(picture != astronaut).any(2).sum() for picture in pictures]
    assert changed[0] > 1.2 * changed[1]  # of the square all but its border, instead of an oval


def test_bulk_work_parses_too(
    academic: Loaded, tmp_path: Path, astronaut_png: bytes, astronaut: Pixels
) -> None:
    restorer: Any = Restorer(academic, lambda crops: np.clip(crops + 25.0, 0, 255).astype(np.uint8))
    network = Known(person())
    loaded = replace(academic, restorer=restorer, parser=FaceParser(network))
    source, target = tmp_path / "photo.png", tmp_path / "restored.png"
    source.write_bytes(astronaut_png)
    outcome = enhance_alone(
        Job(0, source, target, done=False), loaded, Settings(), EnhanceOptions()
    )
    assert outcome.problem is None
    assert len(network.seen) == 1
