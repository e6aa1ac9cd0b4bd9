"""Logging to stderr, one line a record, as text or as JSON."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from datetime import datetime
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from app.text import printable

LogFormat = Literal["text", "json"]

request_id: ContextVar[str] = ContextVar("request_id")
"""Of the request that is being worked on.  Set once a request, in the context of its task."""


def configure_logging(level: str, log_format: LogFormat = "text") -> None:
    """Send every record of ``level`` and above to stderr; others' chatter from warnings on."""
    handler = logging.StreamHandler()
    handler.addFilter(_with_request_id)
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # a hostile file is no error of ours
    for noisy in ("asyncio", "multipart", "python_multipart", "matplotlib", "numba"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Timed(logging.Formatter):
    """Times are in ISO 8601, in milliseconds, with their zone."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return (
            datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        )


class _Text(_Timed):
    """One line, whatever the message holds; only a traceback has more."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        line = printable(super().formatMessage(record))
        given = getattr(record, "request_id", None)
        return line if given is None else f"{line}, request {given}"


class _Json(_Timed, JsonFormatter):
    """What a record has beyond its message (``extra``) becomes fields of their own."""

    def __init__(self) -> None:
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        JsonFormatter.__init__(self, [*names, "message"], rename_fields=names)


def _with_request_id(record: logging.LogRecord) -> bool:
    if (given := request_id.get(None)) is not None:
        record.request_id = given
    return True
