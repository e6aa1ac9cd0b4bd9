"""The bodies of answers in JSON."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from app.engine_names import EngineName, Precision
from app.faces.pipeline import FaceReport, Reason
from app.status import Status


class FaceModel(BaseModel):
    """A face, in pixels of the output picture."""

    box: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1")
    score: float = Field(description="of the detector, at most 1")
    landmarks: list[tuple[float, float]] = Field(
        description="left eye, right eye, nose, left and right mouth corner, as seen in the image"
    )
    restored: bool
    reason: Reason | None = Field(
        description="why a face was left as it was: `limit` (the photo has too many), `not "
        "selected` (by `faces`), `landmarks` (they are not those of a face that was understood), "
        "`profile` (it is seen from the side), `identity` (what was restored does not look like "
        "it), `quality` (it is too poor to be recognised)"
    )

    @classmethod
    def of(cls, report: FaceReport) -> FaceModel:
        face = report.face
        return cls(
            box=tuple(_hundredths(face.box)),
            score=round(face.score, 4),
            landmarks=[(x, y) for x, y in _hundredths(face.landmarks)],
            restored=report.restored,
            reason=report.reason,
        )


class TimingsModel(BaseModel):
    """Milliseconds; together what the request took from its last byte on."""

    wait: float
    decode: float
    detect: float
    queue: float
    restore: float
    paste: float
    encode: float


class EnhancedModel(BaseModel):
    """The answer to ``Accept: application/json``."""

    image: str = Field(
        description="the picture, in base64", json_schema_extra={"contentEncoding": "base64"}
    )
    media_type: str = Field(description="of the picture: image/jpeg, image/png or image/webp")
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    model: str = Field(description="name of the generator")
    upscaler: str | None = Field(description="what enlarged the photo; null with upscale 1")
    faces: list[FaceModel]
    timings_ms: TimingsModel


class QueueModel(BaseModel):
    faces: int = Field(description="that wait; a photo counts as one until they are found")
    limit: int


class LiveModel(BaseModel):
    status: Literal["alive"]


class HealthModel(BaseModel):
    """What is served; while the service starts, only ``status`` and ``version``."""

    status: Status
    version: str
    model: str | None = Field(None, description="name of the generator")
    licence: str | None = Field(None, description="of its weights")
    device: str | None = None
    engine: EngineName | None = None
    precision: Precision | None = None
    queue: QueueModel | None = None


def _hundredths(pixels: NDArray[np.float32]) -> list[Any]:
    """Rounded in double precision: a float32 would be written with all its binary digits."""
    rounded: list[Any] = pixels.astype(np.float64).round(2).tolist()
    return rounded
