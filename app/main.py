"""The ASGI application: ``uvicorn app.main:app``, or ``gpen serve``."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.formparsers import MultiPartParser

from app.http import docs_page, openapi, problems
from app.http.body import BodyLimit
from app.http.cors import Cors
from app.http.delivery import Answers
from app.http.drain import CloseWhileDraining, sigterm_drains
from app.http.edge import Edge
from app.http.keys import ApiKeys
from app.http.linger import CloseUnread
from app.http.middleware import ObserveRequests, RequestId
from app.http.page.routes import page_router
from app.http.paths import ENHANCE, OPENAPI, is_routine
from app.http.routes import EXPOSED_HEADERS, gated, router
from app.http.security_headers import SecurityHeaders
from app.log import configure_logging
from app.serving.budget import answer_bytes_by_memory
from app.serving.metrics import Metrics
from app.serving.service import Service
from app.settings import Settings, read_settings

log = logging.getLogger(__name__)

_EXIT_AFTER_S = 1.0


def exit_soon() -> None:
    """End the process in a second, even if threads hang, so that its supervisor restarts it.

    The delay lets a health check still see why.
    """
    timer = threading.Timer(_EXIT_AFTER_S, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


def _log_who_has_access(settings: Settings) -> None:
    if settings.keys:
        log.info("an API key is required; %d are known", len(settings.keys))
    else:
        log.warning("no API key is required: anybody who can reach this address is served")


def create_app(settings: Settings, on_failure: Callable[[], None] = exit_soon) -> FastAPI:
    """Create the application.  Models are loaded only when it starts up."""
    metrics = Metrics()
    metrics.begin_at_zero(ENHANCE)
    answers = Answers(answer_bytes_by_memory())
    metrics.watch_answers(lambda: answers.bytes, answers.limit)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(settings, metrics, on_failure)
        app.state.service = service
        _log_who_has_access(settings)
        service.start()
        with sigterm_drains(settings.drain_s, service.drain):
            yield
        await service.stop()

    app = FastAPI(
        title="GPEN Portrait",
        summary=openapi.SUMMARY,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        version=version("gpen-portrait"),
        lifespan=lifespan,
        openapi_url=OPENAPI,
        docs_url=None,  # replaced by app.http.docs_page
        redoc_url=None,
        redirect_slashes=False,
        # to OTEL_EXPORTER_OTLP_ENDPOINT, if that is set; needs the extra [otel]
        telemetry={"auto_configure": True, "exclude": is_routine},
    )
    app.state.metrics, app.state.answers = metrics, answers
    app.include_router(gated)
    app.include_router(router)
    app.include_router(page_router(settings))
    docs_page.install(app)
    openapi.install(app, needs_key=bool(settings.keys))
    problems.install(app)
    MultiPartParser.spool_max_size = 0  # never on disk: the gate limits the size
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    if settings.keys:
        app.add_middleware(ApiKeys, keys=settings.keys)
    app.add_middleware(problems.BugsAsProblems)
    if settings.allowed_origins:
        app.add_middleware(
            Cors,  # before the keys, because a preflight has none
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "X-Request-ID", "X-Request-Timeout"],
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(Edge)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(ObserveRequests, metrics=metrics)
    app.add_middleware(RequestId)
    app.add_middleware(CloseWhileDraining)
    app.add_middleware(CloseUnread)  # outermost
    return app


def __getattr__(name: str) -> FastAPI:
    """Create ``app`` from the environment on first access, so that importing has no effect."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = read_settings()
    configure_logging(settings.log_level, settings.log_format)
    return create_app(settings)
