"""Alignment templates: where a network wants the five landmarks in its crop.

The template belongs to the checkpoint: weights trained on one crop restore another one worse.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

TEMPLATE_SIZE = 512
"""Width and height, in pixels, of the crop that the templates are written for."""

_TEMPLATES = MappingProxyType(
    {
        # ArcFace's 112 x 112 template with an inner padding of 25 %, as in GPEN's published code
        "gpen": (
            (202.04, 242.88),
            (309.43, 242.29),
            (256.08, 303.96),
            (211.96, 366.83),
            (300.89, 366.34),
        ),
        # facexlib's FaceRestoreHelper: faces as FFHQ crops them, tighter; GFPGAN and its kin
        "ffhq": (
            (192.98, 239.95),
            (318.90, 240.19),
            (256.63, 314.02),
            (201.26, 371.41),
            (313.09, 371.15),
        ),
    }
)
TEMPLATE_NAMES = tuple(_TEMPLATES)


class UnknownTemplateError(ValueError):
    """There is no alignment template of this name; the message lists those there are."""


def landmark_template(name: str, size: int) -> NDArray[np.float64]:
    """Five landmarks (x, y) in pixels of a crop of ``size`` x ``size``, shape (5, 2), float64.

    Left eye, right eye, nose, left and right corner of the mouth, as seen in the picture.  Raises
    UnknownTemplateError.
    """
    if name not in _TEMPLATES:
        known = ", ".join(TEMPLATE_NAMES)
        raise UnknownTemplateError(f"there is no alignment template {name!r}, only {known}")
    return np.array(_TEMPLATES[name], dtype=np.float64) * (size / TEMPLATE_SIZE)
