"""Photos whose faces are parsed: what comes out, and which weights are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from app.bulk.machine import enhance_alone
from app.bulk.plan import Job
from app.faces.guard import Guard
from app.faces.parsing import FaceParser
from app.faces.pipeline import Enhanced, FoundFaces, find, finish
from app.faces.reports import FaceReport
from app.imaging.photo import Pixels
from app.options import EnhanceOptions
from app.serving import networks
from app.serving.load import Loaded, load
from app.serving.networks import find_parser
from app.settings import Settings
from model.checkpoints.table import BFR_256, PARSENET_FACEXLIB, PARSENET_GPEN
from tests.app.running import Restorer, post, running, wait_for
from tests.conftest import encode_png
from tests.parsers import BACKGROUND, SKIN, Known, person, seeded_parsenet, seeing_skin

CPU = torch.device("cpu")
NAMES = PARSENET_FACEXLIB.file_name, PARSENET_GPEN.file_name


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
    monkeypatch.setattr(networks, "load_parser", lambda path, *_: path)
    monkeypatch.setattr(networks, "make_parser", lambda path, _: path.name)
    settings = folder(*names)
    found: Any = find_parser(settings, CPU, commercial=False)
    assert found == taken
    assert find_parser(settings, CPU, commercial=True) is None  # for academic use only


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32", "fp16"])
def test_it_is_quick_where_it_may_be(
    folder: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, precision: Any, there: bool
) -> None:
    monkeypatch.setattr(networks, "load_parser", lambda *arguments: arguments[-1])
    monkeypatch.setattr(networks, "make_parser", lambda dtype, _: dtype)
    monkeypatch.setattr(networks, "_has_fast_bfloat16", lambda _: there)
    settings = folder(*NAMES).model_copy(update={"precision": precision})
    quick = there and precision in ("auto", "bf16")
    found: Any = find_parser(settings, CPU, commercial=False)
    assert found == (torch.bfloat16 if quick else torch.float32)


@pytest.fixture
def academic(tmp_path: Path) -> Loaded:
    """A seeded generator under an academic one's name, and a seeded ParseNet that sees skin."""
    torch.manual_seed(0)
    torch.save(BFR_256.architecture.generator().state_dict(), tmp_path / BFR_256.file_name)
    torch.save(seeing_skin(seeded_parsenet()).state_dict(), tmp_path / NAMES[1])
    return load(
        Settings(
            model="gpen-bfr-256", weights_dir=tmp_path, cache_dir=tmp_path / "cache", guard=False
        )
    )


def pixels_changed(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, photo: bytes, original: Pixels
) -> int:
    """By the service, with a brighter crop for a restored one."""
    with running(monkeypatch, lambda _: brightening(loaded), request_timeout_s=600) as (client, _):
        wait_for(client, "ok")
        answer = post(client, photo)
    assert (answer.status_code, answer.headers["x-faces-restored"]) == (200, "1")
    picture = np.asarray(Image.open(BytesIO(answer.content)))
    return int((picture != original).any(2).sum())


def brightening(loaded: Loaded) -> Loaded:
    restorer: Any = Restorer(loaded, lambda crops: np.clip(crops + 25.0, 0, 255).astype(np.uint8))
    return replace(loaded, restorer=restorer, guard=None)


def test_the_service_parses(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, astronaut_png: bytes, astronaut: Pixels
) -> None:
    all_skin = FaceParser(Known(np.full((512, 512), SKIN, np.uint8)))
    by_parsing, by_oval = (
        pixels_changed(replace(loaded, parser=parser), monkeypatch, astronaut_png, astronaut)
        for parser in (all_skin, None)
    )
    assert by_parsing > 1.2 * by_oval  # of the square all but its border, instead of an oval


@pytest.mark.long
def test_seeded_weights_are_served(
    academic: Loaded, monkeypatch: pytest.MonkeyPatch, astronaut_png: bytes, astronaut: Pixels
) -> None:
    assert academic.parser is not None
    assert academic.parser.seconds > 0
    by_parsing, by_oval = (
        pixels_changed(replace(academic, parser=parser), monkeypatch, astronaut_png, astronaut)
        for parser in (academic.parser, None)
    )
    assert by_parsing > 1.2 * by_oval


def test_bulk_work_parses_too(
    loaded: Loaded, tmp_path: Path, astronaut_png: bytes, astronaut: Pixels
) -> None:
    network = Known(person())
    loaded = replace(brightening(loaded), parser=FaceParser(network))
    source, target = tmp_path / "photo.png", tmp_path / "restored.png"
    source.write_bytes(astronaut_png)
    outcome = enhance_alone(
        Job(0, source, target, done=False), loaded, Settings(), EnhanceOptions()
    )
    assert outcome.problem is None
    assert len(network.seen) == 1
