"""Logging to stderr, one line per record, as text or as JSON."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from datetime import datetime
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from app.text import printable

LogFormat = Literal["text", "json"]

request_id: ContextVar[str] = ContextVar("request_id")
"""The id of the current request, set once in the context of the request's task."""


def configure_logging(level: str, log_format: LogFormat = "text") -> None:
    """Log records of ``level`` and above to stderr; those of chatty libraries from warnings on."""
    handler = logging.StreamHandler()
    handler.addFilter(_with_request_id)
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # broken uploads are not our errors
    for noisy in ("asyncio", "multipart", "python_multipart", "matplotlib", "numba"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Timed(logging.Formatter):
    """Formats times in ISO 8601, with milliseconds and time zone."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return (
            datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        )


class _Text(_Timed):
    """One line per record, whatever the message contains; only tracebacks have more."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        line = printable(super().formatMessage(record))
        identifier = getattr(record, "request_id", None)
        return line if identifier is None else f"{line}, request {identifier}"


class _Json(_Timed, JsonFormatter):
    """JSON objects, in which the attributes passed as ``extra`` become fields."""

    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        JsonFormatter.__init__(self, [*names, "message"], rename_fields=names)


def _with_request_id(record: logging.LogRecord) -> bool:
    if (identifier := request_id.get(None)) is not None:
        record.request_id = identifier
    return True
