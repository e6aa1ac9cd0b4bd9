"""Which restored faces are pasted, and which are left as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image

from app.faces.align import align
from app.faces.detect import detect
from app.faces.guard import Comparison, Guard, compare, looks_alike
from app.faces.pipeline import Enhanced, find, finish
from app.faces.restore import restore_all
from app.imaging.photo import Pixels
from app.options import EnhanceOptions
from app.serving import networks
from app.serving.load import Loaded
from app.serving.networks import find_guard
from app.settings import Settings
from model.checkpoints.table import EQFACE_BACKBONE, EQFACE_QUALITY
from model.data.degradation import RECIPES, RecipeName, degrade
from model.data.degradation.operations import to_float
from model.data.pictures import find_faces, read_face, split_holdout
from tests.app.running import Restorer, post, running, wait_for
from tests.conftest import encode_png

Crops = NDArray[np.uint8]
"""(N, 256, 256, 3)."""

SIZE = 256


@pytest.fixture(scope="module")
def people() -> Crops:
    """50 people (Labeled Faces in the Wild, 25 pixels each; from the installed package)."""
    path = Path(skimage.__file__).parent / "data" / "lfw_subset.npy"
    tight = (np.load(path)[:50] * 255).astype(np.uint8)
    side, left, top = 150, (SIZE - 150) // 2, 73  # where faces lie in an aligned crop
    borders = (top, SIZE - side - top, left, SIZE - side - left)
    crops = []
    for face in tight:
        enlarged = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        grey = cv2.copyMakeBorder(enlarged, *borders, cv2.BORDER_REPLICATE)
        crops.append(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))
    return np.stack(crops).astype(np.uint8)


@pytest.fixture(scope="module")
def face(loaded: Loaded, astronaut: NDArray[np.uint8]) -> Pixels:
    """The astronaut's, aligned."""
    ((found,),) = detect(loaded.detector, [astronaut], threshold=0.9, min_face=24)
    crop: Pixels = align(astronaut, found.landmarks, loaded.restorer.template, SIZE).crop
    return crop


def degraded(faces: Crops, recipe: RecipeName) -> Crops:
    """Face i with seed i."""
    low = [
        degrade(to_float(one), RECIPES[recipe], np.random.default_rng(i))
        for i, one in enumerate(faces)
    ]
    return np.rint(np.stack(low) * 255).astype(np.uint8)


def restored(loaded: Loaded, low: Crops) -> Crops:
    return np.stack(restore_all(loaded.restorer, list(low), 8))


def accepted(loaded: Loaded, before: Crops, after: Crops) -> float:
    """The share that may be pasted."""
    refusals = Guard().refusals(
        list(before),
        list(after),
        loaded.restorer.template,
        grey=bool((before == before[..., :1]).all()),
    )
    return refusals.count(None) / len(refusals)


@pytest.mark.parametrize(
    ("recipe", "count"),
    [
        ("gpen", 20),
        pytest.param("gpen", 50, marks=pytest.mark.long),
        ("light", 20),
        ("realesrgan", 20),
        ("bsrgan", 20),
    ],
)
def test_restorations_pass_and_other_people_do_not(
    recipe: RecipeName, count: int, people: Crops, loaded: Loaded
) -> None:
    """The original is the best restoration that can be: it must pass for one, too."""
    high = people[:count]
    low = degraded(high, recipe)
    for result in (restored(loaded, low), high):
        assert accepted(loaded, low, result) >= 0.95
        assert accepted(loaded, low, np.roll(result, 1, axis=0)) <= 0.1


@pytest.mark.shared
@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_people_held_out(recipe: RecipeName, shared: Callable[[str], Path], loaded: Loaded) -> None:
    """As above; each is swapped for the next in the list: of the same set, in the same light."""
    paths = split_holdout(shared("faces"), shared("holdout.txt"))[1]
    people = [path.stem.split("_")[-2 if "front" in path.stem else -1] for path in paths]
    high = np.stack([read_face(path, SIZE) for path in paths])
    low = degraded(high, recipe)
    order = np.arange(len(paths))
    others = [next(j for j in np.roll(order, -i - 1) if people[j] != people[i]) for i in order]
    assert len(others) >= 50
    for result in (restored(loaded, low), high):
        assert accepted(loaded, low, result) >= 0.95
        assert accepted(loaded, low, result[others]) <= 0.1


@pytest.mark.shared
def test_sharp_faces_pass(shared: Callable[[str], Path], loaded: Loaded) -> None:
    paths = find_faces(shared("faces"))[::30]
    faces = np.stack([read_face(path, SIZE) for path in paths])
    assert len(faces) > 20
    assert accepted(loaded, faces, restored(loaded, faces)) == 1


def _noise(face: Pixels) -> Any:
    return np.random.default_rng(0).normal(0, 1, face.shape)


GONE_WRONG: dict[str, Callable[[Any], Any]] = {
    "noise": lambda face: 128 + 80 * _noise(face),
    "noise over the face": lambda face: face + 60 * _noise(face),
    "black": lambda face: 0 * face,
    "grey": lambda face: 0 * face + 128,
    "its mean": lambda face: 0 * face + face.mean((0, 1)),
    "inverted": lambda face: 255 - face,
    "upside down": lambda face: face[::-1],
    "turned": np.rot90,
    "a tenth to the left": lambda face: np.roll(face, -len(face) // 10, 1),
    "a tenth down": lambda face: np.roll(face, len(face) // 10, 0),
    "half the contrast": lambda face: 0.5 * face + 64,
    "red and blue exchanged": lambda face: face[..., ::-1],
    "green": lambda face: face * (0.7, 1.1, 0.7),
    "much darker": lambda face: face - 50.0,
}
RESTORED: dict[str, Callable[[Any], Any]] = {
    "the same": lambda face: face,
    "sharpened": lambda face: face + 1.0 * (face - cv2.GaussianBlur(face, (0, 0), 2)),
    "smoothed": lambda face: cv2.GaussianBlur(face, (0, 0), len(face) / 64),
    "more contrast": lambda face: 1.2 * (face - 128) + 128,
    "less contrast": lambda face: 0.8 * (face - 128) + 128,
    "brighter": lambda face: face + 15,
    "warmer": lambda face: face * (1.04, 1.0, 0.94),
    "a little lower": lambda face: np.roll(face, len(face) // 80, 0),
    "other fine grain": lambda face: face + 8 * _noise(face),
}


@pytest.mark.parametrize("size", [128, 256, 512, 1024])
@pytest.mark.parametrize("fault", GONE_WRONG)
def test_a_restorer_gone_wrong_is_noticed(fault: str, size: int, face: Pixels) -> None:
    assert not looks_alike(compare_at(size, face, GONE_WRONG[fault]))


@pytest.mark.parametrize("size", [128, 256, 512, 1024])
@pytest.mark.parametrize("change", RESTORED)
def test_what_restoring_does_passes(change: str, size: int, face: Pixels) -> None:
    assert looks_alike(compare_at(size, face, RESTORED[change]))


def compare_at(size: int, face: Pixels, change: Callable[[Any], Any]) -> Comparison:
    """As a network of this size would be given the face, and change it."""
    before = np.asarray(cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    after = np.clip(np.rint(change(before.astype(np.float32))), 0, 255)
    return compare(before, np.asarray(after, np.uint8))


def test_grain_that_was_there_may_stay(face: Pixels) -> None:
    grainy = np.clip(face + 60 * _noise(face), 0, 255).astype(np.uint8)
    assert looks_alike(compare(grainy, grainy))


def test_colours_do_not_matter_where_the_photo_has_none(face: Pixels) -> None:
    luma = np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), np.uint8)
    grey = np.repeat(luma[..., None], 3, axis=2)
    found = compare(grey, np.clip(grey * (1.1, 1.0, 0.75), 0, 255).astype(np.uint8))
    assert looks_alike(found, grey=True)
    assert not looks_alike(found)


# --- in the pipeline


def enhanced(loaded: Loaded, photo: bytes, change: Any, **options: Any) -> Enhanced:
    """With ``change`` (index of a face, crop -> crop) for a restorer."""
    wanted = EnhanceOptions(**options)
    found = find(photo, wanted, Settings().limits, loaded.detector, loaded.restorer)
    crops = [np.asarray(change(i, crop), np.uint8) for i, crop in enumerate(found.crops)]
    return finish(found, crops, wanted, guard=loaded.guard)


def test_a_face_that_fails_is_left_as_it_was_and_others_are_restored(
    loaded: Loaded, astronaut: NDArray[np.uint8]
) -> None:
    twins = np.hstack([astronaut, astronaut[:, ::-1]])

    def second_fails(i: int, crop: Pixels) -> Any:
        return 255 - crop if i == 1 else np.clip(crop + 10.0, 0, 255)

    result = enhanced(loaded, encode_png(twins), second_fails, match_colour=False)
    first, second = result.reports
    assert (first.restored, first.reason) == (True, None)
    assert (second.restored, second.reason) == (False, "identity")
    changed = (np.asarray(Image.open(BytesIO(result.picture.data))) != twins).any(2)
    halves = [changed[:, :512], changed[:, 512:]]
    right = int(second.face.box[0] > 512)
    assert halves[1 - right].any()
    assert not halves[right].any()


@pytest.mark.parametrize("kind", ["colour", "grey", "16 bits", "aligned", "aligned, enlarged"])
def test_refused_in_every_kind_of_photo(
    kind: str, loaded: Loaded, astronaut: NDArray[np.uint8]
) -> None:
    """A failed face costs nothing: not a level changes."""
    options: dict[str, Any] = {}
    levels: NDArray[Any] = astronaut
    if kind == "grey":
        levels = np.asarray(cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY))
    elif kind == "16 bits":
        levels = astronaut[..., ::-1].astype(np.uint16) * 257 + 11  # OpenCV writes BGR
    elif kind.startswith("aligned"):
        levels = astronaut[20:220, 130:330]
        options = {"aligned": True, "upscale": 2 if "enlarged" in kind else 1}
    deep = kind == "16 bits"
    data = cv2.imencode(".png", levels)[1].tobytes() if deep else encode_png(levels)
    result = enhanced(loaded, data, lambda _, crop: 255 - crop, **options)
    assert [(report.restored, report.reason) for report in result.reports] == [(False, "identity")]
    written = cv2.imdecode(np.frombuffer(result.picture.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert written is not None
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert expected is not None
    if options.get("upscale") == 2:
        expected = cv2.resize(expected, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(written, expected)
    kept = enhanced(loaded, data, lambda _, crop: crop, **options)
    assert [report.restored for report in kept.reports] == [True]


def test_the_service_tells_and_counts(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes
) -> None:
    restorer: Any = Restorer(loaded, lambda crops: 255 - crops)
    with running(monkeypatch, lambda _: replace(loaded, restorer=restorer)) as (client, _):
        wait_for(client, "ok")
        answer = post(client, astronaut_png)
        assert answer.status_code == 200
        assert answer.headers["x-faces-detected"] == "1"
        assert answer.headers["x-faces-restored"] == "0"
        told = client.post(
            "/enhance", files={"file": astronaut_png}, headers={"Accept": "application/json"}
        ).json()
        assert [(f["restored"], f["reason"]) for f in told["faces"]] == [(False, "identity")]
        assert 'gpen_faces_total{outcome="identity"} 2.0' in client.get("/metrics").text


# --- what it is made of


class ByBrightness:
    """Stands for EQFace: a dark face is a poor one, one that gets brighter another one."""

    def judge(self, before: Any, after: Any, template: Any) -> Any:
        return [
            "quality" if b.mean() < 60 else "identity" if a.mean() > b.mean() + 5 else None
            for b, a in zip(before, after, strict=True)
        ]


def test_both_guards_are_asked_the_cheap_one_first(loaded: Loaded, face: Pixels) -> None:
    eqface: Any = ByBrightness()
    dark = face // 4
    before = [face, face, dark, dark]
    after = [255 - face, np.clip(face + 10.0, 0, 255).astype(np.uint8), dark, 255 - dark]
    refusals = Guard(eqface).refusals(before, after, loaded.restorer.template, grey=False)
    assert refusals == ["identity", "identity", "quality", "identity"]
    refusals = Guard().refusals(before, after, loaded.restorer.template, grey=False)
    assert refusals == ["identity", None, None, "identity"]
    assert Guard(eqface).refusals([], [], loaded.restorer.template, grey=False) == []


def test_what_is_found_on_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_modelscope: None
) -> None:
    taken: Any = object()
    monkeypatch.setattr(networks, "load_eqface", lambda *_: taken)
    device = torch.device("cpu")
    settings = Settings(weights_dir=tmp_path, cache_dir=tmp_path / "cache")

    def found(*, commercial: bool = False) -> Guard | None:
        return find_guard(settings, device, commercial=commercial)

    assert found() == Guard()
    (tmp_path / EQFACE_BACKBONE.file_name).write_bytes(b"x")
    assert found() == Guard()  # one is not enough
    (tmp_path / EQFACE_QUALITY.file_name).write_bytes(b"x")
    guard = found()
    assert guard is not None
    assert guard.eqface is not None
    assert guard.eqface.network is taken
    assert found(commercial=True) == Guard()
    off = Settings(weights_dir=tmp_path, guard=False)
    assert find_guard(off, device, commercial=False) is None


def test_the_setting_is_on_unless_it_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().guard
    monkeypatch.setenv("GPEN_GUARD", "off")
    assert not Settings().guard
