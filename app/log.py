"""Logging to stderr, one line a record, as text or as JSON."""

from __future__ import annotations

import logging
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["text", "json"]


def configure_logging(level: str, log_format: LogFormat = "text") -> None:
    """Send every record of ``level`` and above to stderr; others' chatter from warnings on."""
    handler = logging.StreamHandler()
    if log_format == "json":
        fields = ["asctime", "levelname", "name", "message"]
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter(fields, rename_fields=names))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # a hostile file is no error of ours
    for noisy in ("asyncio", "multipart", "python_multipart", "matplotlib", "numba"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
