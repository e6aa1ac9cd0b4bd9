"""The states of the service that ``/health`` reports."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    STARTING = "starting"
    OK = "ok"
    DRAINING = "draining"
    FAILED = "failed"
