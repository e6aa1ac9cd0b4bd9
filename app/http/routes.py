"""The routes of the API."""

from __future__ import annotations

from dataclasses import fields
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Form, UploadFile
from opentelemetry import trace
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from werkzeug.http import parse_accept_header

from app.errors import TooLarge
from app.faces.pipeline import Enhanced, Timings
from app.http.answers import (
    EnhancedModel,
    EnhancedResponse,
    FaceModel,
    HealthModel,
    LiveModel,
    QueueModel,
    TimingsModel,
)
from app.http.gate import GatedRoute
from app.http.openapi import (
    ENHANCED_HEADERS,
    NO_KEY,
    OPERATIONS,
    PHOTOS,
    REQUEST_HEADERS,
    REQUEST_ID,
    answers_with_problems,
)
from app.http.paths import ENHANCE
from app.imaging.formats import LABELS
from app.options import EnhanceOptions
from app.serving.service import Service
from app.status import Status
from app.text import ascii_printable

router = APIRouter(generate_unique_id_function=lambda route: route.name)
gated = APIRouter(route_class=GatedRoute, generate_unique_id_function=lambda route: route.name)

EXPOSED_HEADERS = ["Retry-After", *ENHANCED_HEADERS]
"""The headers of an answer that a page of another origin may read."""

_BINARY = {"type": "string", "format": "binary"}


def _is_file(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(  # noqa: TRY004  (pydantic handles only ValueErrors)
            "This is a text field; send the picture as a file, with a filename "
            "(curl: -F file=@photo.jpg)"
        )
    return value


class EnhanceForm(EnhanceOptions):
    """The multipart form of ``POST /enhance``."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    file: Annotated[UploadFile, BeforeValidator(_is_file)] = Field(
        description=f"{LABELS}; the first frame of an animation",
        json_schema_extra={"format": "binary"},  # which generators of clients look for
    )


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@gated.post(
    ENHANCE,
    tags=[PHOTOS],
    summary="Restore the faces of a photo",
    response_class=Response,
    openapi_extra={"parameters": REQUEST_HEADERS},
    responses={
        200: {
            "description": "The picture, or JSON that contains it if `Accept` asks for that",
            "headers": ENHANCED_HEADERS,
            "model": EnhancedModel,
            "content": {
                f"image/{name}": {"schema": _BINARY} for name in ("jpeg", "png", "webp", "avif")
            },
        },
        **answers_with_problems(400, 401, 413, 415, 422, 500, 503, 504),
    },
)
async def enhance(
    request: Request,
    form: Annotated[EnhanceForm, Form(media_type="multipart/form-data")],
) -> Response:
    """Returns the restored photo as a picture or, with `Accept: application/json`, as an object
    with the picture in base64, its faces and the timings.
    """
    service = _service(request)
    data = await form.file.read()
    await form.file.close()
    if len(data) > service.settings.max_upload_bytes:
        raise TooLarge(f"The file is larger than {service.settings.max_upload_mb:g} MB.")
    enhanced = await service.enhance(data, form, request.state.visit)
    request.state.faces = len(enhanced.reports)  # for the log
    headers = _headers(enhanced)
    trace.get_current_span().set_attributes(_attributes(enhanced))
    if not wants_json(request.headers.get("accept", "")):
        return Response(enhanced.picture.data, 200, headers, enhanced.picture.media_type)
    return EnhancedResponse(_described(enhanced), enhanced.picture.data, headers)


def _headers(enhanced: Enhanced) -> dict[str, str]:
    timings = _milliseconds(enhanced.timings)
    upscaler = (
        {} if enhanced.upscaler is None else {"X-Upscaler": ascii_printable(enhanced.upscaler)}
    )
    return upscaler | {
        "X-Faces-Detected": str(len(enhanced.reports)),
        "X-Faces-Restored": str(sum(report.restored for report in enhanced.reports)),
        "X-Model": ascii_printable(enhanced.model),
        "Server-Timing": ", ".join(f"{name};dur={value}" for name, value in timings.items()),
        "Vary": "Accept",
    }


def _attributes(enhanced: Enhanced) -> dict[str, str | int | float]:
    """Attributes of the request's span, for tracing."""
    return {
        "gpen.model": enhanced.model,
        "gpen.faces": len(enhanced.reports),
        **{f"gpen.{name}_ms": value for name, value in _milliseconds(enhanced.timings).items()},
    }


def _described(enhanced: Enhanced) -> EnhancedModel:
    """The answer in JSON, without the picture."""
    return EnhancedModel(
        image="",
        media_type=enhanced.picture.media_type,
        width=enhanced.width,
        height=enhanced.height,
        model=enhanced.model,
        upscaler=enhanced.upscaler,
        faces=[FaceModel.of(report) for report in enhanced.reports],
        timings_ms=TimingsModel(**_milliseconds(enhanced.timings)),
    )


def _milliseconds(timings: Timings) -> dict[str, float]:
    return {f.name: round(getattr(timings, f.name) * 1000, 1) for f in fields(timings)}


def wants_json(accept: str) -> bool:
    """Whether an Accept header names JSON, and prefers no kind of image to it.

    A wildcard such as ``*/*`` does not ask for JSON.
    """
    json_quality = image_quality = 0.0
    for media_range, quality in parse_accept_header(accept.lower()):
        if media_range.partition(";")[0] == "application/json":
            json_quality = max(json_quality, quality)
        elif media_range.startswith("image/"):
            image_quality = max(image_quality, quality)
    return json_quality > 0 and json_quality >= image_quality


_HEALTH: dict[str, Any] = {
    "tags": [OPERATIONS],
    "response_model_exclude_none": True,
    "openapi_extra": NO_KEY,
    "responses": {
        200: {"description": "Serving", "headers": REQUEST_ID},
        503: {
            "description": "Starting, draining or failed",
            "headers": REQUEST_ID,
            "model": HealthModel,
        },
    },
}


@router.get("/health/ready", name="ready", summary="For readiness and startup probes", **_HEALTH)
@router.get("/health", summary="What is served, and how", **_HEALTH)
async def health(request: Request, response: Response) -> HealthModel:
    """503 unless `status` is `ok`."""
    service = _service(request)
    if service.status is not Status.OK:
        response.status_code = 503
    described = HealthModel(status=service.status, version=version("gpen-portrait"))
    if service.running is None:
        return described
    restorer, queue = service.running.loaded.restorer, service.running.queue
    waiting = len(queue) + len(service.line)
    return described.model_copy(
        update={
            "model": restorer.name,
            "licence": restorer.licence,
            "device": ", ".join(r.engine.device for r in service.running.loaded.restorers),
            "engine": restorer.engine.name,
            "precision": restorer.engine.precision,
            "queue": QueueModel(faces=waiting, limit=queue.limit),
        }
    )


@router.get(
    "/health/live",
    tags=[OPERATIONS],
    summary="For liveness probes",
    openapi_extra=NO_KEY,
    responses={200: {"description": "Alive", "headers": REQUEST_ID}},
)
async def live() -> LiveModel:
    """Shows that the event loop answers, and nothing else."""
    return LiveModel(status="alive")


@router.get(
    "/metrics",
    tags=[OPERATIONS],
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses={
        200: {"description": "The metrics", "headers": REQUEST_ID},
        **answers_with_problems(401),
    },
)
def metrics(request: Request) -> Response:  # in a thread, because a device may be slow to answer
    """In Prometheus's text format."""
    registry = request.app.state.metrics.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


for _path, _probe in (("/health", health), ("/health/ready", health), ("/health/live", live)):
    # some load balancers probe with HEAD
    router.add_api_route(_path, _probe, methods=["HEAD"], include_in_schema=False)
