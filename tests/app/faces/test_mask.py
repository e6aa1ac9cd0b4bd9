"""The mask: a soft oval about the face, or what was parsed, whatever the template."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.faces.mask import CLASSES, SIDE, oval, parsed
from model.checkpoints.templates import TEMPLATE_NAMES, landmark_template
from tests.parsers import (
    BACKGROUND,
    CLOTHES,
    HAIR,
    SKIN,
    Classes,
    person,
)

NAMES = pytest.mark.parametrize("name", TEMPLATE_NAMES)


@NAMES
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_the_face_is_covered_and_the_border_is_not(name: str, size: int) -> None:
    template = landmark_template(name, size)
    masks = oval(template, size)
    cover = masks[..., 0]
    assert masks.shape == (SIDE, SIDE, 2)
    assert masks.dtype == np.float32
    assert masks.min() == 0
    assert cover.max() == 1
    border = np.concatenate([masks[0], masks[-1], masks[:, 0], masks[:, -1]])
    assert (border < 1e-3).all()
    eyes, mouth = template[:2].mean(0), template[3:].mean(0)
    down, right = mouth - eyes, (template[1] - template[0]) / 2
    features = {
        "landmarks": template,
        "chin": [mouth + 0.5 * down],
        "brows and forehead": [eyes - 0.5 * down, eyes - 0.8 * down],
        "cheeks": [eyes + 0.5 * down + 1.7 * right, eyes + 0.5 * down - 1.7 * right],
    }
    for feature, points in features.items():
        for x, y in np.asarray(points) * SIDE / size:
            assert cover[round(y), round(x)] > 0.9, feature


@NAMES
def test_no_rectangle_and_no_step(name: str) -> None:
    """Each level of the mask bounds a convex shape without corners, and no level is passed fast."""
    cover = oval(landmark_template(name, SIDE), SIDE)[..., 0]
    assert max(np.abs(np.diff(cover, axis=axis)).max() for axis in (0, 1)) < 0.06
    for level in (0.1, 0.5, 0.9):
        inside = cover > level
        width, height = inside.any(0).sum(), inside.any(1).sum()
        filled = inside.sum() / (width * height)
        assert filled == pytest.approx(np.pi / 4, abs=0.03)  # a rectangle would fill 1


def test_the_nearer_of_two_faces_has_the_stronger_claim() -> None:
    claim = oval(landmark_template("gpen", SIDE), SIDE)[..., 1]
    middle = int(claim.max(1).argmax())
    row = claim[middle]
    peak = int(row.argmax())
    assert (np.diff(row[peak:]) <= 0).all()
    assert (np.diff(row[: peak + 1]) >= 0).all()
    assert abs(peak - SIDE / 2) < 3


# --- parsed

TEMPLATE = landmark_template("gpen", SIDE)
OVAL = oval(TEMPLATE, SIDE)


def cover_of(classes: Classes) -> np.ndarray:
    return parsed(classes, TEMPLATE, SIDE)[..., 0]


def with_band(kind: int, width: int) -> Classes:
    """Something before the face, ``width`` pixels of the mask high."""
    classes = person()
    classes[2 * 150 - width : 2 * 150 + width] = kind
    return classes


@NAMES
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_face_hair_and_neck_are_covered_and_nothing_else_is(name: str, size: int) -> None:
    template = landmark_template(name, size)
    masks = parsed(person(), template, size)
    cover = masks[..., 0]
    assert masks.shape == (SIDE, SIDE, 2)
    assert masks.dtype == np.float32
    assert masks.min() == 0
    assert 0.99999 < cover.max() <= 1
    assert not np.concatenate([masks[0], masks[-1], masks[:, 0], masks[:, -1]]).any()
    for x, y in template * SIDE / size:
        assert cover[round(y), round(x)] > 0.999
    hair = np.s_[100, 52]  # beyond the oval, which ends before
    assert cover[hair] > 0.9
    assert oval(template, size)[..., 0][hair] < 0.5
    small = cv2.resize(person(), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    far = cv2.erode((small == BACKGROUND).astype(np.uint8), np.ones((51, 51), np.uint8)) > 0
    assert far.sum() > 500
    assert not cover[far].any()


GPEN_PASTES = [0, *[1] * 13, 0, 1, 1, 1, 0]
"""By class, in its ``face_parse``."""


@pytest.mark.parametrize(("kind", "covered"), list(enumerate(GPEN_PASTES)))
def test_which_classes_are_pasted(kind: int, covered: int) -> None:
    """Of what lies across the face the middle is all covered, or not at all."""
    cover = cover_of(with_band(kind, 46))
    assert cover[150, 128] == pytest.approx(1) if covered else cover[150, 128] == 0
    assert cover[115, 128] > 0.5  # the eyes are


@pytest.mark.parametrize("kind", range(CLASSES))
def test_what_is_a_face(kind: int) -> None:
    """Skin, features, glasses and ears are; hair, hat, jewels, neck and clothes are not."""
    masks = parsed(np.full((512, 512), kind, np.uint8), TEMPLATE, SIDE)
    assert np.array_equal(masks, oval(TEMPLATE, SIDE)) == (not 1 <= kind <= 12)


def test_softness_grows_with_the_face_not_with_the_crop() -> None:
    """A crop's masks are of one size: twice the pixels of the crop is twice the fade."""
    small = parsed(person(), TEMPLATE, SIDE)
    large = parsed(person(), landmark_template("gpen", 1024), 1024)
    np.testing.assert_allclose(small, large, atol=0.01)


@pytest.mark.parametrize(
    "classes",
    {
        "a person": person(),
        "a hand": with_band(BACKGROUND, 40),
        "all skin": np.full((512, 512), SKIN, np.uint8),
        "stripes": np.where(np.arange(512)[:, None] % 40 < 28, person(), BACKGROUND),
        "noise": np.where(
            np.random.default_rng(0).random((512, 512)) < 0.7, SKIN, BACKGROUND
        ).astype(np.uint8),
    }.items(),
    ids=lambda item: item[0],
)
def test_no_step_whatever_was_parsed(classes: tuple[str, Classes]) -> None:
    cover = cover_of(classes[1].astype(np.uint8))
    assert (cover != OVAL[..., 0]).any()
    assert max(np.abs(np.diff(cover, axis=axis)).max() for axis in (0, 1)) < 0.06


@pytest.mark.parametrize(
    "classes",
    {
        "nothing": np.zeros((512, 512), np.uint8),
        "hair alone": np.full((512, 512), HAIR, np.uint8),
        "clothes": np.full((512, 512), CLOTHES, np.uint8),
        "specks of a face": (np.random.default_rng(0).random((512, 512)) < 0.4).astype(np.uint8),
        "a corner": np.pad(np.full((100, 100), SKIN, np.uint8), ((0, 412), (0, 412))),
        "a speck of a face": np.pad(np.full((60, 60), SKIN, np.uint8), ((240, 212), (226, 226))),
    }.items(),
    ids=lambda item: item[0],
)
def test_where_there_is_hardly_a_face_the_oval_is_taken(classes: tuple[str, Classes]) -> None:
    np.testing.assert_array_equal(parsed(classes[1], TEMPLATE, SIDE), OVAL)


def test_a_neighbour_s_head_is_not_this_one_s() -> None:
    alone = person()
    alone[alone >= HAIR] = BACKGROUND
    beside = person(at=0.55)
    together = alone.copy()
    together[:, 400:] = beside[:, 400:]
    assert (together[:, 400:] == SKIN).any()
    np.testing.assert_array_equal(parsed(together, TEMPLATE, SIDE), parsed(alone, TEMPLATE, SIDE))


def test_the_claim_is_strongest_in_the_middle_and_never_lost() -> None:
    cover, claim = np.moveaxis(parsed(person(), TEMPLATE, SIDE), 2, 0)
    middle = int(claim.max(1).argmax())
    assert (np.diff(claim[middle, 128:]) <= 1e-6).all()
    assert (np.diff(claim[middle, :129]) >= -1e-6).all()
    assert (claim >= 0.99e-2 * cover).all()


def test_the_oval_is_computed_once() -> None:
    mask = oval(TEMPLATE, SIDE)
    assert oval(TEMPLATE.copy(), SIDE) is mask
    assert oval(TEMPLATE, 2 * SIDE) is not mask
    with pytest.raises(ValueError, match="read-only"):
        mask[0] = 1
