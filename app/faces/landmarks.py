"""Checking that five landmarks form a face that can be aligned and restored."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Flaw = Literal["landmarks", "profile"]
Turn = Literal[0, 90, 180, 270]
"""Degrees clockwise from upright: at 90, the top of the face points to the right."""

# In units of the distance from the eyes to the mouth.  On 660 portraits, 58 faces of a group photo
# and 130 faces of 12 pixels, the eyes are 0.8 to 1.2 apart and the corners of the mouth 0.6 to 1.2,
# both level to 0.05, and the nose is 0.4 to 0.75 below the eyes.  The limits allow for nods of 50
# degrees.
_WIDEST = 1.9
_NARROWEST_MOUTH = 0.1
_NOSE = (0.1, 0.95)
_TILT = 0.35
_EYES_IN_PROFILE = 0.4  # distance of the eyes of a head turned by 65 degrees
_NOSE_BEYOND_THE_EYES = 0.15


def flaw(landmarks: NDArray[np.floating]) -> Flaw | None:
    """What is wrong with (5, 2) landmarks in pixels, or None if nothing is.

    The face may be rotated by any angle in the picture.  ``landmarks``: they do not have the order
    or the proportions of a face, because the detection is no face or its landmarks are wrong.
    ``profile``: the face is seen from the side, and a generator would add a second eye.
    """
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    unit = float(np.linalg.norm(mouth - eyes))
    if not unit > 0:
        return "landmarks"
    down = (mouth - eyes) / unit
    upright = np.array([[down[1], down[0]], [-down[0], down[1]]])  # columns: right, down
    (eyes_apart, eyes_tilt), (mouth_apart, mouth_tilt), (nose_aside, nose_down) = (
        np.stack([landmarks[1] - landmarks[0], landmarks[4] - landmarks[3], landmarks[2] - eyes])
        @ upright
        / unit
    )
    if (
        not 0 < eyes_apart < _WIDEST
        or not _NARROWEST_MOUTH < mouth_apart < _WIDEST
        or not _NOSE[0] < nose_down < _NOSE[1]
        or max(abs(eyes_tilt), abs(mouth_tilt)) > _TILT
    ):
        return "landmarks"
    if eyes_apart < _EYES_IN_PROFILE or abs(nose_aside) > eyes_apart / 2 + _NOSE_BEYOND_THE_EYES:
        return "profile"
    return None


def turn_of(landmarks: NDArray[np.floating]) -> Turn:
    """The quarter turn that is nearest to how a face with (5, 2) landmarks lies in its picture."""
    right, down = landmarks[3:].mean(0) - landmarks[:2].mean(0)
    turns: tuple[Turn, ...] = (0, 90, 180, 270)
    return turns[round(float(np.arctan2(-right, down)) / (np.pi / 2)) % 4]
