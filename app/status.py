"""What a service says of itself on ``/health``."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    STARTING = "starting"
    OK = "ok"
    DRAINING = "draining"
    FAILED = "failed"
