"""Turns all errors into RFC 9457 problems (``application/problem+json``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import InvalidForm, InvalidRequest, ServiceError, TooLarge
from app.text import printable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_NAME = 60  # characters shown of a field's name, which the client chooses


class Problem(BaseModel):
    """The body of every error."""

    type: str = Field(examples=["urn:gpen:problem:broken-picture"])
    title: str = Field(examples=["Broken picture"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The picture is broken or cut off."])
    request_id: str = Field(examples=["0b6f2c1e9d4a4f7f"])


def problem_response(request: Request, error: ServiceError) -> Response:
    return _respond(request, error.slug, error.title, error.status, error.detail, error.headers)


def install(app: FastAPI) -> None:
    """Answer every error of an application with a problem."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_service_error(request: Request, error: Exception) -> Response:
    return problem_response(request, cast(ServiceError, error))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """For a field of the form."""
    lines = [
        f"{_field(item['loc'][1:])}: {item['msg'].removeprefix('Value error, ')}"
        for item in cast(RequestValidationError, error).errors()
    ]
    return problem_response(request, InvalidRequest("; ".join(lines)))


def _field(location: Sequence[str | int]) -> str:
    return printable(".".join(map(str, location))[:_NAME]) or "body"


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """For what Starlette and FastAPI raise: 404, 405, a form that cannot be parsed."""
    error = cast(HTTPException, error)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        detail = str(error.detail)
        if detail.startswith("Part exceeded"):  # typically a picture without a filename
            detail = "A text field is longer than 1 MB; send a picture as a file, with a filename."
        return problem_response(request, InvalidForm(detail))
    if error.status_code == TooLarge.status:
        return problem_response(request, TooLarge(str(error.detail)))
    status = HTTPStatus(error.status_code)
    slug = status.phrase.lower().replace(" ", "-")
    return _respond(request, slug, status.phrase, status, str(error.detail), error.headers or {})


class BugsAsProblems:
    """Answers unexpected exceptions with a generic problem, and logs the traceback.

    Starlette's own handler is outside all middleware, so its answers would lack their headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        except Exception:
            if started:
                raise  # the server closes the connection
            log.exception("a bug")
            bug = ServiceError("The service failed on this request.")
            await problem_response(Request(scope), bug)(scope, receive, send)


def _respond(
    request: Request, slug: str, title: str, status: int, detail: str, headers: Mapping[str, str]
) -> Response:
    request_id = request.state.request_id
    request.state.problem = slug  # for metrics and log
    problem = Problem(
        type=f"urn:gpen:problem:{slug}",
        title=title,
        status=status,
        detail=detail,
        request_id=request_id,
    )
    return JSONResponse(
        problem.model_dump(), status, {**headers, "X-Request-ID": request_id}, MEDIA_TYPE
    )
