"""The bodies of answers in JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.engine_names import EngineName, Precision
from app.faces.landmarks import Turn
from app.faces.reports import FaceReport, Reason
from app.status import Status

_PIECE = 192 * 1024  # bytes of a picture that are encoded at a time; three make four characters


class FaceModel(BaseModel):
    """A face, in pixels of the output picture."""

    box: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1")
    score: float = Field(description="of the detector, at most 1")
    landmarks: list[tuple[float, float]] = Field(
        description="left eye, right eye, nose, left and right mouth corner, as seen in the image "
        "when the face is upright"
    )
    turn: Turn = Field(
        description="how the face lies, in degrees clockwise from upright, to the nearest quarter: "
        "at 90, the top of the head points to the right"
    )
    restored: bool
    reason: Reason | None = Field(
        description="why a face was left unchanged: `limit` (the photo has too many faces), `not "
        "selected` (by the option `faces`), `landmarks` (they cannot be those of a face), "
        "`profile` (it is seen from the side), `identity` (the restored face does not look like "
        "it), `quality` (it is too poor to be recognised)"
    )

    @classmethod
    def of(cls, report: FaceReport) -> FaceModel:
        face = report.face
        return cls(
            box=tuple(_hundredths(face.box)),
            score=round(face.score, 4),
            landmarks=[(x, y) for x, y in _hundredths(face.landmarks)],
            turn=report.turn,
            restored=report.restored,
            reason=report.reason,
        )


class TimingsModel(BaseModel):
    """Milliseconds; their sum is the time since the last byte of the request."""

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
    upscaler: str | None = Field(description="what enlarged the photo; null if upscale is 1")
    faces: list[FaceModel]
    timings_ms: TimingsModel


class EnhancedResponse(Response):
    """An :class:`EnhancedModel` whose picture is encoded in base64 piece by piece, as it is sent.

    Encoding a large picture as a whole would take several times its memory, and block the event
    loop.
    """

    media_type = "application/json"

    def __init__(
        self, described: EnhancedModel, picture: bytes, headers: Mapping[str, str]
    ) -> None:
        """``described`` is the answer with an empty ``image``."""
        text = described.model_dump_json().encode()
        self._before, empty, self._after = text.partition(b'"image":""')
        assert empty, "the image of a described answer is empty"
        self._before += b'"image":"'
        self._after = b'"' + self._after
        self._picture = picture
        length = len(self._before) + -(-len(picture) // 3) * 4 + len(self._after)
        super().__init__(headers={**headers, "Content-Length": str(length)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        for piece in self._pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": self._after})

    def _pieces(self) -> Iterator[bytes]:
        yield self._before
        picture = memoryview(self._picture)
        for start in range(0, len(picture), _PIECE):
            yield b64encode(picture[start : start + _PIECE])


class QueueModel(BaseModel):
    faces: int = Field(description="waiting faces; a photo counts as one until its faces are found")
    limit: int


class LiveModel(BaseModel):
    status: Literal["alive"]


class HealthModel(BaseModel):
    """The state of the service; while it starts, only ``status`` and ``version`` are present."""

    status: Status
    version: str
    model: str | None = Field(None, description="name of the generator")
    licence: str | None = Field(None, description="of its weights")
    device: str | None = None
    engine: EngineName | None = None
    precision: Precision | None = None
    queue: QueueModel | None = None


def _hundredths(pixels: NDArray[np.float32]) -> list[Any]:
    """Round in double precision, because JSON would show all binary digits of a float32."""
    rounded: list[Any] = pixels.astype(np.float64).round(2).tolist()
    return rounded
