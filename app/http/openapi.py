"""Adds errors, headers, keys and examples to the OpenAPI description of the routes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from fastapi import FastAPI

from app.errors import (
    BrokenPicture,
    DeadlineExceeded,
    InvalidForm,
    InvalidHead,
    InvalidRequest,
    MemoryFull,
    NoFace,
    NotServing,
    NotSquare,
    Overloaded,
    QueueFull,
    RestorationFailed,
    ServiceError,
    TooLarge,
    Unauthorized,
    UnsupportedPicture,
)
from app.http.problems import MEDIA_TYPE, Problem
from app.imaging.formats import LABELS

SUMMARY = "Restores every face of a photo."

DESCRIPTION = """\
Send a photo to `POST /enhance`; the answer is the photo with its faces restored, as a picture or,
with `Accept: application/json`, as an object that also says where the faces are.

Every error is `application/problem+json` (RFC 9457) with the request's id. If API keys are set, all
requests except probes and this documentation need one, as `X-API-Key` or `Authorization: Bearer`:
enter it under "Authorize".
"""

PHOTOS, OPERATIONS = "photos", "operations"

TAGS = [
    {"name": PHOTOS, "description": "Restoring photos."},
    {"name": OPERATIONS, "description": "Probes and metrics."},
]

NO_KEY: dict[str, Any] = {"security": []}
"""``openapi_extra`` of routes that need no key."""

REQUEST_HEADERS = [  # read by the gate and the middleware, so that FastAPI does not know them
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "seconds; may shorten the service's deadline",
        "schema": {"type": "number", "minimum": 0.001},
    },
    {
        "name": "X-Request-ID",
        "in": "header",
        "description": "used if it is 1 to 128 of A-Z, a-z, 0-9, dot, underscore and hyphen; "
        "otherwise the request gets a new one",
        "schema": {"type": "string"},
    },
]

_SECURITY_SCHEMES = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "One of the service's keys.",
    },
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The same keys."},
}

_DESCRIPTIONS = {
    400: "Not a multipart form in UTF-8, or too many headers",
    401: "Wrong or missing API key, if keys are set",
    413: "Too many bytes, or too many pixels in the photo or the result",
    415: "Not a picture this service reads",
    422: "No file, an option out of range or in the query string, a broken picture, or no face "
    "with require_face",
    500: "A bug",
    503: "Starting, stopping or full",
    504: "The deadline passed",
}

_DETAILS: dict[type[ServiceError], str] = {
    InvalidForm: "Send a multipart/form-data body with the picture as 'file'.",
    InvalidHead: "The request has more than 100 headers.",
    Unauthorized: "Send an API key as X-API-Key, or as Authorization: Bearer.",
    TooLarge: "The picture has 12000x9000 pixels; the limit with these options is 40000000",
    UnsupportedPicture: f"The file is not a {LABELS} picture.",
    InvalidRequest: "strength: Input should be less than or equal to 1",
    BrokenPicture: "The picture is broken or cut off.",
    NotSquare: "The picture has 640x480 pixels.",
    NoFace: "No face was found in the picture.",
    ServiceError: "The service failed on this request.",
    RestorationFailed: "A face could not be restored.",
    NotServing: "The service is starting.",
    Overloaded: "Too many requests are in flight.",
    QueueFull: "Too many faces are waiting; try again.",
    MemoryFull: "There is too little memory for this photo right now.",
    DeadlineExceeded: "Not done within 30 s.",
}


def _header(description: str, example: str | int, **schema: str | int) -> dict[str, Any]:
    return {
        "description": description,
        "required": True,
        "schema": {"type": "string", **schema},
        "example": example,
    }


REQUEST_ID = {"X-Request-ID": _header("the request's id", "0b6f2c1e9d4a4f7f")}
"""The headers of every answer."""

ENHANCED_HEADERS = {
    **REQUEST_ID,
    "X-Faces-Detected": _header("faces found", 1, type="integer", minimum=0),
    "X-Faces-Restored": _header("faces restored", 1, type="integer", minimum=0),
    "X-Model": _header(
        "name of the generator; non-ASCII letters are escaped as in Python", "gpen-starter-256"
    ),
    "X-Upscaler": _header("what enlarged the photo; absent if upscale is 1", "bicubic")
    | {"required": False},
    "Server-Timing": _header(
        "the stages since the last byte of the request, in milliseconds",
        "wait;dur=3.2, decode;dur=21.4",
    ),
}
"""The headers of an answer with a restored photo."""

_ERROR_HEADERS = {
    401: {"WWW-Authenticate": _header("how to send a key", 'Bearer realm="gpen"')},
    503: {"Retry-After": _header("seconds", 3, type="integer", minimum=1)},
}

_ENHANCED = {
    "image": "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEB",  # shortened
    "media_type": "image/jpeg",
    "width": 1600,
    "height": 1200,
    "model": "gpen-starter-256",
    "upscaler": None,
    "faces": [
        {
            "box": [612.4, 208.9, 804.1, 470.3],
            "score": 0.9994,
            "landmarks": [
                [662.3, 311.8],
                [752.6, 309.4],
                [707.9, 361.2],
                [671.5, 411.7],
                [746.2, 409.9],
            ],
            "turn": 0,
            "restored": True,
            "reason": None,
        }
    ],
    "timings_ms": {
        "wait": 3.2,
        "decode": 21.4,
        "detect": 48.2,
        "queue": 0.2,
        "restore": 38.7,
        "paste": 3.1,
        "encode": 24.9,
    },
}

_HEALTH = {
    "status": "ok",
    "version": "0.1.0",
    "model": "gpen-starter-256",
    "licence": "CC BY 4.0",
    "device": "cpu",
    "engine": "openvino",
    "precision": "bf16",
    "queue": {"faces": 0, "limit": 256},
}

_STARTING = {"status": "starting", "version": "0.1.0"}

_EXAMPLES = {"EnhancedModel": [_ENHANCED], "HealthModel": [_HEALTH, _STARTING]}
"""Examples of answers, by the names of their models."""


def answers_with_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route for these statuses, each with examples of its problems."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "headers": REQUEST_ID | _ERROR_HEADERS.get(status, {}),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {
                        error.slug: {"summary": error.title, "value": _example(error, detail)}
                        for error, detail in _DETAILS.items()
                        if error.status == status
                    },
                }
            },
        }
        for status in statuses
    }


def _example(error: type[ServiceError], detail: str) -> dict[str, Any]:
    return Problem(
        type=f"urn:gpen:problem:{error.slug}",
        title=error.title,
        status=error.status,
        detail=detail,
        request_id="0b6f2c1e9d4a4f7f",
    ).model_dump()


def install(app: FastAPI, needs_key: bool) -> None:
    """Complete the OpenAPI description of an application."""
    of_routes: Callable[[], dict[str, Any]] = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        return _completed(of_routes(), needs_key)

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's guide does


def _completed(description: dict[str, Any], needs_key: bool) -> dict[str, Any]:
    # examples are added here, because FastAPI would omit their null values
    schemas = description["components"]["schemas"] | {"Problem": Problem.model_json_schema()}
    examples = {name: schemas[name] | {"examples": given} for name, given in _EXAMPLES.items()}
    keys: list[dict[str, list[str]]] = [{name: []} for name in _SECURITY_SCHEMES]
    return description | {
        "components": {"schemas": schemas | examples, "securitySchemes": _SECURITY_SCHEMES},
        "security": keys if needs_key else [{}, *keys],
    }
