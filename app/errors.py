"""What can go wrong with a request.  Each class owns its HTTP status (RFC 9457)."""

from __future__ import annotations

import math
from typing import ClassVar


class ServiceError(Exception):
    """Base of all; the message is shown to the client, so it says nothing internal."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    slug: ClassVar[str] = "internal"

    @property
    def detail(self) -> str:
        return str(self)

    @property
    def headers(self) -> dict[str, str]:
        return {}


class InvalidHead(ServiceError):
    """A path or headers that no honest client sends."""

    status = 400
    title = "Invalid request head"
    slug = "invalid-head"


class InvalidForm(ServiceError):
    status = 400
    title = "Not a multipart form"
    slug = "invalid-form"


class OriginNotAllowed(ServiceError):
    """A page asks whether it may call, and it may not."""

    status = 400
    title = "Origin not allowed"
    slug = "origin-not-allowed"


class Unauthorized(ServiceError):
    """Wrong or missing API key."""

    status = 401
    title = "Unauthorized"
    slug = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="gpen"'}


class TooLarge(ServiceError):
    """Too many bytes, or too many pixels in or out."""

    status = 413
    title = "Too large"
    slug = "too-large"


class UnsupportedPicture(ServiceError):
    status = 415
    title = "Not a picture this service reads"
    slug = "unsupported-picture"


class InvalidRequest(ServiceError):
    """No file, or an option out of range."""

    status = 422
    title = "Invalid request"
    slug = "invalid-request"


class BrokenPicture(ServiceError):
    status = 422
    title = "Broken picture"
    slug = "broken-picture"


class NotSquare(ServiceError):
    status = 422
    title = "Aligned picture is not square"
    slug = "not-square"


class NoFace(ServiceError):
    status = 422
    title = "No face found"
    slug = "no-face"


MOST_RETRY_S = 120
"""Seconds: who is to come back later than that had better be told by a person."""


class Unavailable(ServiceError):
    """The same request may succeed later, or elsewhere.

    ``retry_after`` is in seconds; the client is told a whole number from 1 to MOST_RETRY_S.
    """

    status = 503
    title = "Unavailable"
    slug = "unavailable"

    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        seconds = min(max(1.0, self.retry_after), MOST_RETRY_S)
        return {"Retry-After": str(math.ceil(seconds))}


class NotServing(Unavailable):
    """Starting, stopping or failed."""

    title = "Not serving"
    slug = "not-serving"


class Overloaded(Unavailable):
    """More requests, or bytes of them, than can be taken in, or done in time."""

    title = "Overloaded"
    slug = "overloaded"


class QueueFull(Unavailable):
    """More requests or faces than may wait, or than can be restored in time."""

    title = "Queue full"
    slug = "queue-full"


class MemoryFull(Unavailable):
    """The machine's or the device's memory ran out."""

    title = "Memory full"
    slug = "memory-full"


class DeadlineExceeded(ServiceError):
    status = 504
    title = "Deadline exceeded"
    slug = "deadline-exceeded"


class RestorationFailed(ServiceError):
    """The network gave no picture for a face: a bug or a broken device; the log has the trace."""

    title = "Restoration failed"
    slug = "restoration-failed"
