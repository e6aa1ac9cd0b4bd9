"""What becomes of each face that was found: which are restored, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from app.faces.detect import Face
from app.faces.landmarks import Turn, flaw, turn_of
from app.options import FaceChoice

Reason = Literal["limit", "not selected", "landmarks", "profile", "identity", "quality"]


@dataclass(frozen=True)
class FaceReport:
    face: Face
    """In pixels of the picture that it was found in, or in an answer of the output picture."""
    restored: bool
    reason: Reason | None
    """Why the face was not restored; None if it was."""

    @property
    def turn(self) -> Turn:
        """How the face lies in the picture."""
        return turn_of(self.face.landmarks)


def select(
    faces: list[Face], choice: FaceChoice, limit: int, width: int, height: int
) -> tuple[FaceReport, ...]:
    """Reports that say which faces are restored.

    ``faces`` of a picture of this size are sorted, the largest first.  Faces with flawed landmarks
    are never chosen.
    """
    flaws = [flaw(face.landmarks) for face in faces]
    sound = [i for i, fault in enumerate(flaws) if fault is None]
    if choice == "largest":
        selected = sound[:1]
    elif choice == "center" and sound:
        middle = np.array([width, height]) / 2
        centres = np.stack([(faces[i].box[:2] + faces[i].box[2:]) / 2 for i in sound])
        selected = [sound[int(np.linalg.norm(centres - middle, axis=1).argmin())]]
    else:
        selected = sound[:limit]
    excluded: Reason = "limit" if choice == "all" else "not selected"
    return tuple(
        FaceReport(face, i in selected, None if i in selected else flaws[i] or excluded)
        for i, face in enumerate(faces)
    )
