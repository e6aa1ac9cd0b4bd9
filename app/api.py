"""The routes."""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import fields
from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Header, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.errors import InvalidRequest, TooLarge
from app.options import EnhanceOptions
from app.pipeline import Enhanced, FaceReport, Timings
from app.problems import MEDIA_TYPE, Problem
from app.service import Service, Status

router = APIRouter()

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
    for status, description in {
        400: "No multipart form, or a broken one",
        413: "Too many bytes, or too many pixels in or out",
        415: "Not a picture this service reads",
        422: "No file, an option out of range, a broken picture, or no face with require_face",
        500: "A bug",
        503: "Starting, stopping or full",
        504: "The deadline passed",
    }.items()
}


class EnhanceForm(EnhanceOptions):
    """The multipart form of ``POST /enhance``."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    file: UploadFile = Field(description="JPEG, PNG, WebP, BMP or TIFF")


class FaceModel(BaseModel):
    """A face, in pixels of the output picture."""

    box: tuple[float, float, float, float]
    score: float
    landmarks: list[tuple[float, float]] = Field(
        description="left eye, right eye, nose, left and right mouth corner, as seen in the image"
    )
    restored: bool
    reason: str | None

    @classmethod
    def of(cls, report: FaceReport) -> FaceModel:
        face = report.face
        return cls(
            box=tuple(face.box.round(2).tolist()),
            score=round(face.score, 4),
            landmarks=[(x, y) for x, y in face.landmarks.round(2).tolist()],
            restored=report.restored,
            reason=report.reason,
        )


class EnhancedModel(BaseModel):
    """The answer to ``Accept: application/json``."""

    image: str = Field(description="base64")
    media_type: str
    width: int
    height: int
    model: str
    faces: list[FaceModel]
    timings_ms: dict[str, float]


class QueueModel(BaseModel):
    faces: int
    limit: int


class HealthModel(BaseModel):
    status: Status
    version: str
    model: str | None = None
    licence: str | None = None
    device: str | None = None
    engine: Literal["torch"] | None = None
    precision: Literal["fp32"] | None = None
    queue: QueueModel | None = None


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.post(
    "/enhance",
    response_class=Response,
    responses={
        200: {
            "description": "The picture, or JSON with it if asked for by `Accept`",
            "model": EnhancedModel,
            "content": {f"image/{name}": {} for name in ("jpeg", "png", "webp")},
        },
        **_PROBLEMS,
    },
)
async def enhance(
    request: Request,
    form: Annotated[EnhanceForm, Form(media_type="multipart/form-data")],
    x_request_timeout: Annotated[
        float | None, Header(description="seconds; can shorten the service's deadline")
    ] = None,
) -> Response:
    """Restore the faces of a photo."""
    service = _service(request)
    settings = service.settings
    timeout = settings.request_timeout_s
    if x_request_timeout is not None:
        if not (math.isfinite(x_request_timeout) and x_request_timeout > 0):
            raise InvalidRequest("X-Request-Timeout: must be a positive number of seconds")
        timeout = min(timeout, x_request_timeout)
    data = await form.file.read()
    if len(data) > settings.max_upload_bytes:
        raise TooLarge(f"The file is larger than {settings.max_upload_mb:g} MB.")
    options = EnhanceOptions.model_validate(form.model_dump(exclude={"file"}))
    enhanced = await service.enhance(data, options, timeout)
    running = service.running
    assert running is not None
    return _respond(request, enhanced, running.loaded.restorer.name)


def _respond(request: Request, enhanced: Enhanced, model: str) -> Response:
    timings = _milliseconds(enhanced.timings)
    headers = {
        "X-Faces-Detected": str(len(enhanced.reports)),
        "X-Faces-Restored": str(sum(report.restored for report in enhanced.reports)),
        "X-Model": model,
        "Server-Timing": ", ".join(f"{name};dur={value}" for name, value in timings.items()),
        "Vary": "Accept",
    }
    if not _wants_json(request.headers.get("accept", "")):
        return Response(enhanced.picture.data, 200, headers, enhanced.picture.media_type)
    body = EnhancedModel(
        image=b64encode(enhanced.picture.data).decode(),
        media_type=enhanced.picture.media_type,
        width=enhanced.width,
        height=enhanced.height,
        model=model,
        faces=[FaceModel.of(report) for report in enhanced.reports],
        timings_ms=timings,
    )
    return JSONResponse(body.model_dump(), 200, headers)


def _milliseconds(timings: Timings) -> dict[str, float]:
    return {f.name: round(getattr(timings, f.name) * 1000, 1) for f in fields(timings)}


def _wants_json(accept: str) -> bool:
    return any(
        part.split(";")[0].strip().lower() == "application/json" for part in accept.split(",")
    )


@router.get("/health", response_model_exclude_none=True, responses={503: {"model": HealthModel}})
async def health(request: Request, response: Response) -> HealthModel:
    """What is served, and how; 503 unless ``status`` is ``ok``."""
    service = _service(request)
    if service.status is not Status.OK:
        response.status_code = 503
    described = HealthModel(status=service.status, version=version("gpen-portrait"))
    if service.running is None:
        return described
    restorer, queue = service.running.loaded.restorer, service.running.queue
    return described.model_copy(
        update={
            "model": restorer.name,
            "licence": restorer.licence,
            "device": str(restorer.device),
            "engine": "torch",
            "precision": "fp32",
            "queue": QueueModel(faces=len(queue), limit=queue.limit),
        }
    )


@router.get(
    "/health/ready", response_model_exclude_none=True, responses={503: {"model": HealthModel}}
)
async def ready(request: Request, response: Response) -> HealthModel:
    """For readiness and startup probes."""
    return await health(request, response)


@router.get("/health/live")
async def live() -> dict[str, str]:
    """For liveness probes: the event loop answers."""
    return {"status": "alive"}
