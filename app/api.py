"""The routes."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import fields
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, UploadFile
from numpy.typing import NDArray
from opentelemetry import trace
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.engines.engine import EngineName, Precision
from app.errors import TooLarge
from app.middleware import ENHANCE
from app.options import EnhanceOptions
from app.pipeline import Enhanced, FaceReport, Reason, Timings
from app.problems import MEDIA_TYPE, Problem
from app.service import Service, Status

router = APIRouter()

EXPOSED_HEADERS = [
    "Retry-After",
    "Server-Timing",
    "X-Faces-Detected",
    "X-Faces-Restored",
    "X-Model",
    "X-Request-ID",
]
"""What a page of another origin may read of an answer."""

_TIMEOUT = {  # the gate reads it, before the body
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "seconds; can shorten the service's deadline",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
    for status, description in {
        400: "No multipart form, or a broken one",
        401: "Wrong or missing API key, where keys are set",
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


def _hundredths(pixels: NDArray[np.float32]) -> list[Any]:
    """Rounded in double precision: a float32 would be written with all its binary digits."""
    rounded: list[Any] = pixels.astype(np.float64).round(2).tolist()
    return rounded


class FaceModel(BaseModel):
    """A face, in pixels of the output picture."""

    box: tuple[float, float, float, float]
    score: float
    landmarks: list[tuple[float, float]] = Field(
        description="left eye, right eye, nose, left and right mouth corner, as seen in the image"
    )
    restored: bool
    reason: Reason | None = Field(description="why a face was left as it was")

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
    engine: EngineName | None = None
    precision: Precision | None = None
    queue: QueueModel | None = None


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.post(
    ENHANCE,
    response_class=Response,
    openapi_extra={"parameters": [_TIMEOUT]},
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
) -> Response:
    """Restore the faces of a photo."""
    service = _service(request)
    data = await form.file.read()
    await form.file.close()
    if len(data) > service.settings.max_upload_bytes:
        raise TooLarge(f"The file is larger than {service.settings.max_upload_mb:g} MB.")
    enhanced = await service.enhance(data, form, request.state.deadline)
    headers = _headers(enhanced)
    trace.get_current_span().set_attributes(_attributes(enhanced))
    if not wants_json(request.headers.get("accept", "")):
        return Response(enhanced.picture.data, 200, headers, enhanced.picture.media_type)
    body = await run_in_threadpool(_json, enhanced)  # base64 of a large picture takes a while
    return Response(body, 200, headers, "application/json")


def _headers(enhanced: Enhanced) -> dict[str, str]:
    timings = _milliseconds(enhanced.timings)
    return {
        "X-Faces-Detected": str(len(enhanced.reports)),
        "X-Faces-Restored": str(sum(report.restored for report in enhanced.reports)),
        "X-Model": enhanced.model,
        "Server-Timing": ", ".join(f"{name};dur={value}" for name, value in timings.items()),
        "Vary": "Accept",
    }


def _attributes(enhanced: Enhanced) -> dict[str, str | int | float]:
    """Of the request's span, where requests are traced."""
    return {
        "gpen.model": enhanced.model,
        "gpen.faces": len(enhanced.reports),
        **{f"gpen.{name}_ms": value for name, value in _milliseconds(enhanced.timings).items()},
    }


def _json(enhanced: Enhanced) -> str:
    return EnhancedModel(
        image=b64encode(enhanced.picture.data).decode(),
        media_type=enhanced.picture.media_type,
        width=enhanced.width,
        height=enhanced.height,
        model=enhanced.model,
        faces=[FaceModel.of(report) for report in enhanced.reports],
        timings_ms=_milliseconds(enhanced.timings),
    ).model_dump_json()


def _milliseconds(timings: Timings) -> dict[str, float]:
    return {f.name: round(getattr(timings, f.name) * 1000, 1) for f in fields(timings)}


def wants_json(accept: str) -> bool:
    """Whether an Accept header names JSON, and no kind of image before it (RFC 9110, 12.5.1)."""
    json_quality = image_quality = 0.0
    for part in accept.lower().split(","):
        media_type, _, parameters = part.partition(";")
        quality = _quality(parameters)
        if media_type.strip() == "application/json":
            json_quality = quality
        elif media_type.strip().startswith("image/"):
            image_quality = max(image_quality, quality)
    return json_quality > 0 and json_quality >= image_quality


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


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
            "device": restorer.engine.device,
            "engine": restorer.engine.name,
            "precision": restorer.engine.precision,
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


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """For Prometheus.  In a thread: a device may take its time to answer."""
    registry = request.app.state.metrics.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


for _path, _probe in (("/health", health), ("/health/ready", ready), ("/health/live", live)):
    # some load balancers ask without wanting to hear
    router.add_api_route(_path, _probe, methods=["HEAD"], include_in_schema=False)
