"""The mask: a soft oval about the face, whatever the template."""

from __future__ import annotations

import numpy as np
import pytest

from app.mask import SIDE, oval
from model.templates import TEMPLATE_NAMES, landmark_template

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
