"""Downloads weights, from ModelScope through its own client, or by their URL."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from model.checkpoints.table import CheckpointError, WeightsFile
from model.checkpoints.web import WebError, fetch_url

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of bytes on disk so far, and of the whole file."""


class DownloadError(CheckpointError):
    """The message says, in one line, how to download the file by hand."""


@dataclass(frozen=True)
class Patience:
    """Time limits of a download.  The client's environment variables, if set, take precedence."""

    idle_s: int = 20
    """Seconds without data after which a request is given up."""
    retries: int = 3
    """Retries of a transfer, each of which continues where the last one stopped."""
    total_s: int = 3600
    """Seconds for the whole download.  Received data is kept, and the next download continues."""

    def environment(self) -> dict[str, str]:
        """The limits as environment variables of modelscope's client."""
        return {
            "MODELSCOPE_API_CONNECT_TIMEOUT": str(min(10, self.idle_s)),
            "MODELSCOPE_REPO_TREE_PAGE_TIMEOUT_SECONDS": str(self.idle_s),
            "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "2",
            "MODELSCOPE_DOWNLOAD_TIMEOUT": str(self.idle_s),
            "MODELSCOPE_DOWNLOAD_LOW_SPEED_WINDOW_SECONDS": str(self.idle_s),
            "MODELSCOPE_DOWNLOAD_MAX_RETRIES": str(self.retries),
            "MODELSCOPE_DOWNLOAD_RETRY_MAX_DELAY_SECONDS": str(self.idle_s),
            "MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT": str(self.total_s),
        }


DEFAULT_PATIENCE = Patience()


def log_progress(name: str) -> Progress:
    """A progress callback that logs every tenth, for runs without a terminal."""
    logged_tenths = -1

    def report(received: int, total: int) -> None:
        nonlocal logged_tenths
        tenths = 10 * received // total if total else 10
        if tenths > logged_tenths:
            logged_tenths = tenths
            log.info("downloading %s: %d of %d MB", name, received // 10**6, total // 10**6)

    return report


def modelscope_dir(cache_dir: Path) -> Path:
    """The folder in CACHE_DIR that has the layout of a ModelScope cache."""
    return cache_dir / "modelscope"


def web_file(weights: WeightsFile, cache_dir: Path) -> Path:
    """The path in CACHE_DIR of a file that is downloaded by its URL."""
    return cache_dir / "web" / weights.file_name


def download(
    weights: WeightsFile,
    weights_dir: Path,
    cache_dir: Path,
    *,
    progress: Progress | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> Path:
    """Download into ``cache_dir``, continuing a download that was interrupted.

    A file from ModelScope is checked against the size and SHA-256 that the repository lists.  If it
    is there already, it is only checked; if it differs, it is removed.  A file with a URL is always
    downloaded again, and checked against the SHA-256 in the table.

    ``weights_dir`` is the folder that error messages recommend for a file downloaded by hand.
    Without ``progress``, progress is logged.  Raises DownloadError.
    """
    source = weights.modelscope
    if weights.url is not None:
        return _download_from_web(
            weights, weights.url, weights_dir, cache_dir, progress or log_progress(weights.name),
            patience,
        )  # fmt: skip
    if source is None:
        raise DownloadError(
            f"{weights.name} cannot be downloaded: put its file into {weights_dir} as "
            f"{weights.file_name}"
        )
    outcome = _fetch(
        source.repository_id,
        source.path,
        modelscope_dir(cache_dir),
        progress or log_progress(weights.name),
        patience,
    )
    if isinstance(outcome, _Failed):
        raise DownloadError(
            f"{weights.name} cannot be downloaded: {outcome.reason}. Try again (the download "
            f"continues where it stopped), or by hand: take {source.path} from the page of "
            f"{source.repository_id} on ModelScope and put it into {weights_dir} as "
            f"{weights.file_name}"
        )
    return outcome.path


def _download_from_web(
    weights: WeightsFile,
    url: str,
    weights_dir: Path,
    cache_dir: Path,
    progress: Progress,
    patience: Patience,
) -> Path:
    assert weights.sha256 is not None
    path = web_file(weights, cache_dir)
    try:
        fetch_url(
            url,
            path,
            weights.sha256,
            progress=progress,
            idle_s=patience.idle_s,
            retries=patience.retries,
            total_s=patience.total_s,
        )
    except WebError as error:
        raise DownloadError(
            f"{weights.name} cannot be downloaded: {error}. Try again (the download continues "
            f"where it stopped), or by hand: put {url} into {weights_dir} as {weights.file_name}"
        ) from error
    return path


class _Message(BaseModel):
    """A line that ``fetch.py`` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Received(_Message):
    received: int
    total: int


class _Finished(_Message):
    path: Path


class _Failed(_Message):
    reason: str


_MESSAGE: TypeAdapter[_Received | _Finished | _Failed] = TypeAdapter(
    _Received | _Finished | _Failed
)


def _fetch(
    repository: str, file: str, folder: Path, progress: Progress, patience: Patience
) -> _Finished | _Failed:
    # In another process, because the client reads its time limits from the environment when it is
    # imported, its threads cannot be stopped, and it draws its own progress bars.
    environment = {
        "MODELSCOPE_LOG_LEVEL": "CRITICAL",  # results are printed as messages
        "TQDM_DISABLE": "1",
        **patience.environment(),
        **os.environ,
    }
    program = Path(__file__).with_name("fetch.py")
    outcome: _Finished | _Failed | None = None
    with subprocess.Popen(
        [sys.executable, "-P", str(program), repository, file, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # so that Ctrl-C causes no traceback in the child
    ) as child:  # leaving this block closes the child's stdin, which ends it
        assert child.stdout is not None
        for line in child.stdout:
            message = _MESSAGE.validate_json(line)
            if not isinstance(message, _Received):
                outcome = message
            else:
                progress(message.received, message.total)
    return outcome or _Failed(reason=f"modelscope's client ended with status {child.returncode}")
