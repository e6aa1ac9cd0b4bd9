"""The errors that a request can end with, each with its HTTP status and problem type (RFC 9457)."""

from __future__ import annotations

import math
from typing import ClassVar


class ServiceError(Exception):
    """Base class.  The message is sent to the client, so it must not reveal anything internal."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    slug: ClassVar[str] = "internal"

    @property
    def detail(self) -> str:
        return str(self)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response beside those of every problem."""
        return {}


class InvalidHead(ServiceError):
    """A malformed path or malformed headers."""

    status = 400
    title = "Invalid request head"
    slug = "invalid-head"


class InvalidForm(ServiceError):
    """A body that is not a valid multipart form."""

    status = 400
    title = "Not a multipart form"
    slug = "invalid-form"


class OriginNotAllowed(ServiceError):
    """A CORS preflight from an origin that is not allowed."""

    status = 400
    title = "Origin not allowed"
    slug = "origin-not-allowed"


class Unauthorized(ServiceError):
    """A wrong or missing API key."""

    status = 401
    title = "Unauthorized"
    slug = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="gpen"'}


class TooLarge(ServiceError):
    """Too many bytes, or too many pixels in the photo or in the result."""

    status = 413
    title = "Too large"
    slug = "too-large"


class UnsupportedPicture(ServiceError):
    """A file in a format that is not read."""

    status = 415
    title = "Not a picture this service reads"
    slug = "unsupported-picture"


class InvalidRequest(ServiceError):
    """A form without a file, or an option out of range."""

    status = 422
    title = "Invalid request"
    slug = "invalid-request"


class BrokenPicture(ServiceError):
    """A file that cannot be decoded."""

    status = 422
    title = "Broken picture"
    slug = "broken-picture"


class NotSquare(ServiceError):
    """A picture that is not square, sent with ``aligned``."""

    status = 422
    title = "Aligned picture is not square"
    slug = "not-square"


class NoFace(ServiceError):
    """A photo without a face, sent with ``require_face``."""

    status = 422
    title = "No face found"
    slug = "no-face"


MOST_RETRY_S = 120
"""Maximum of Retry-After, in seconds; longer outages are for people to announce."""


class Unavailable(ServiceError):
    """The same request may succeed later, or elsewhere.

    ``retry_after`` is in seconds; the header holds it rounded up, from 1 to MOST_RETRY_S.
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
    """The service is starting, stopping, or has failed."""

    title = "Not serving"
    slug = "not-serving"


class Overloaded(Unavailable):
    """More requests or bytes than can be accepted, or processed in time."""

    title = "Overloaded"
    slug = "overloaded"


class QueueFull(Unavailable):
    """More requests or faces than may wait, or can be restored in time."""

    title = "Queue full"
    slug = "queue-full"


class MemoryFull(Unavailable):
    """The machine's or the device's memory ran out."""

    title = "Memory full"
    slug = "memory-full"


class DeadlineExceeded(ServiceError):
    """The request was not finished before its deadline."""

    status = 504
    title = "Deadline exceeded"
    slug = "deadline-exceeded"


class RestorationFailed(ServiceError):
    """The network failed on a face: a bug or a broken device.  The log has the traceback."""

    title = "Restoration failed"
    slug = "restoration-failed"
