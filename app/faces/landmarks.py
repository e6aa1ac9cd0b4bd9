"""Whether five landmarks are those of a face that can be brought upright and restored."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Flaw = Literal["landmarks", "profile"]

# In distances of the mouth from the eyes.  On 660 portraits, 58 faces of a group photo and 130
# faces of 12 pixels the eyes lie 0.8 to 1.2 apart, the corners of the mouth 0.6 to 1.2, both level
# to 0.05, and the nose 0.4 to 0.75 below the eyes; there is room for nods of 50 degrees.
_WIDEST = 1.9
_NARROWEST_MOUTH = 0.1
_NOSE = (0.1, 0.95)
_TILT = 0.35
_EYES_IN_PROFILE = 0.4  # turned by 65 degrees
_NOSE_BEYOND_THE_EYES = 0.15


def flaw(landmarks: NDArray[np.floating]) -> Flaw | None:
    """What is wrong with (5, 2) landmarks, in pixels of any picture; None: nothing.

    Faces may be turned in the picture by any angle.  ``landmarks``: they are not in the order or
    the proportions of a face's, as with things that are none and with faces that the detector did
    not understand.  ``profile``: the face is seen from the side; what generators know of faces
    would give it a second eye.
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
