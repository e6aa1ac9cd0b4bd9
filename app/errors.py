"""What can go wrong with a request.  Each class owns its HTTP status (RFC 9457)."""

from __future__ import annotations

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


class InvalidForm(ServiceError):
    status = 400
    title = "Not a multipart form"
    slug = "invalid-form"


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


class Unavailable(ServiceError):
    """Starting, stopping or full: the same request may succeed later, or elsewhere."""

    status = 503
    title = "Unavailable"
    slug = "unavailable"

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class DeadlineExceeded(ServiceError):
    status = 504
    title = "Deadline exceeded"
    slug = "deadline-exceeded"


class RestorationFailed(ServiceError):
    """The network gave no picture for a face: a bug or a broken device; the log has the trace."""

    title = "Restoration failed"
    slug = "restoration-failed"
