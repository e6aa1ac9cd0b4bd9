"""Downloads a file by its URL, for weights that are not on ModelScope."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

_CHUNK = 2**18
_RANGE_NOT_SATISFIABLE = 416


class WebError(Exception):
    """The message says why in one line."""


def fetch_url(
    url: str,
    target: Path,
    sha256: str,
    *,
    progress: Callable[[int, int], None],
    idle_s: float,
    retries: int,
    total_s: float,
) -> None:
    """Download a file, continuing an interrupted download in ``TARGET.part``.

    ``progress`` is called with the number of bytes on disk so far, and of the whole file.  A
    request is given up after ``idle_s`` without data, and repeated up to ``retries`` times; the
    download ends after ``total_s``.  The file gets its name if its SHA-256 is right, and is removed
    if not.  Raises WebError.
    """
    part = target.with_name(f"{target.name}.part")
    deadline = time.monotonic() + total_s
    for attempt in range(retries + 1):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _receive(url, part, progress, idle_s, deadline)
            break
        except (OSError, http.client.HTTPException) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or attempt == retries or time.monotonic() >= deadline:
                raise WebError(_reason(error)) from error
    with part.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        part.unlink()
        raise WebError("the server did not send the published file (its SHA-256 differs)")
    part.replace(target)


def _receive(
    url: str, part: Path, progress: Callable[[int, int], None], idle_s: float, deadline: float
) -> None:
    """Append the missing data to ``part``.  Raises OSError or HTTPException."""
    received = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={received}-"} if received else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=idle_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_NOT_SATISFIABLE and received:
            return  # it is complete, or its SHA-256 will be wrong
        raise
    with answer:
        partial = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        received = received if partial else 0
        total = received + int(answer.headers["Content-Length"] or 0)
        with part.open("ab" if partial else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                received += len(chunk)
                progress(received, total)
                if time.monotonic() >= deadline:
                    raise TimeoutError
    if received < total:  # urllib reports no error if the connection breaks
        raise ConnectionResetError


def _reason(error: BaseException) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered with HTTP status {error.code}"
    if isinstance(cause, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, urllib.error.URLError | ConnectionError | http.client.HTTPException):
        return "the server cannot be reached, or the connection broke"
    if isinstance(error, OSError) and error.errno:
        return f"{error.filename}: {os.strerror(error.errno)}"
    return " ".join(str(error).split()) or type(error).__name__
