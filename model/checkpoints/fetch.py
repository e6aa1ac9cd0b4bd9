"""A separate program that downloads one file from ModelScope and reports progress on stdout.

    python -P fetch.py REPOSITORY FILE CACHE_DIR

It prints one JSON object a line: ``{"received": BYTES, "total": BYTES}`` any number of times, then
``{"path": FILE}`` or ``{"reason": TEXT}``.  It exits when its stdin is closed, so that it never
outlives the process that waits for the file.  ``model.checkpoints.download`` starts it and reads
its output.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path

from modelscope_hub import (
    APIError,
    FileDownloadError,
    FileIntegrityError,
    HubApi,
    HubConfig,
    HubError,
    NetworkError,
    NotExistError,
    ProgressCallback,
)

_REPORT_EVERY_S = 0.1


class FetchError(Exception):
    """The message says why, in one line of English."""


class _Report(ProgressCallback):
    received = 0  # includes data of an earlier, interrupted download
    reported = 0.0

    def update(self, size: int) -> None:
        self.received += size
        now = time.monotonic()
        if now - self.reported >= _REPORT_EVERY_S or self.received == self.file_size:
            self.reported = now
            _print_message(received=self.received, total=self.file_size)


def fetch(repository: str, file: str, cache_dir: Path) -> Path:
    """Download or resume, and check the size and SHA-256 that the repository lists.

    Raises FetchError.
    """
    # The default configuration would write an identifier to the home folder.  A token is always
    # passed: without one, the client unpickles its cookies to look for one, so that anyone who can
    # write them could run any code.
    token = os.environ.get("MODELSCOPE_API_TOKEN", "")
    api = HubApi(HubConfig(cache_dir=cache_dir, config_dir=cache_dir, token=token))
    try:
        # Not download_file(), which knows neither size nor hash and so cannot check them.
        folder = api.download_repo(
            repository, "model", allow_patterns=[file], progress_callbacks=[_Report]
        )
    except (HubError, OSError) as error:
        raise FetchError(_reason(error)) from error
    path = folder / file
    if not path.is_file():
        raise FetchError(f"{repository} does not list {file}")
    return path


def _reason(error: BaseException) -> str:
    """A short reason in English; the client's own messages are long and partly Chinese."""
    if isinstance(error, FileDownloadError) and error.failed_files:
        return _reason(next(iter(error.failed_files.values())))
    if isinstance(error, NotExistError):
        return "there is no such repository or file"
    if isinstance(error, FileIntegrityError):
        return "the server sent another file than it lists (size or SHA-256 differ)"
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, NetworkError):
        return "the server cannot be reached, or the connection broke"
    if isinstance(error, APIError) and error.status_code is not None:
        return f"the server answered with HTTP status {error.status_code}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _print_message(**message: int | str) -> None:
    print(json.dumps(message), flush=True, file=sys.__stdout__)


def _end_with_stdin() -> None:
    # not sys.stdin, whose lock in a daemon thread would break the interpreter's exit
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository")
    parser.add_argument("file")
    parser.add_argument("cache_dir", type=Path)
    options = parser.parse_args()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is only for messages
            path = fetch(options.repository, options.file, options.cache_dir)
    except FetchError as error:
        _print_message(reason=str(error))
        return 1
    _print_message(path=str(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
