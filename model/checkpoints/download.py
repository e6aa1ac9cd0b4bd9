"""Downloading weights: from ModelScope through its own client, or by their address."""

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
"""Called with the bytes on disk so far, and in all."""


class DownloadError(CheckpointError):
    """The message says, in one line, how to fetch the file by hand."""


@dataclass(frozen=True)
class Patience:
    """How long a download may take.  The client's environment variables, if set, win."""

    idle_s: int = 20
    """Without a byte, before a request is given up."""
    retries: int = 3
    """Of the transfer; it goes on from the byte where it broke off."""
    total_s: int = 3600
    """In all; what has arrived stays, and the next download goes on from there."""

    def environment(self) -> dict[str, str]:
        """As modelscope's client takes it."""
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
    """A progress that logs each tenth, for where nobody watches."""
    tenths_told = -1

    def tell(received: int, total: int) -> None:
        nonlocal tenths_told
        tenths = 10 * received // total if total else 10
        if tenths > tenths_told:
            tenths_told = tenths
            log.info("downloading %s: %d of %d MB", name, received // 10**6, total // 10**6)

    return tell


def modelscope_dir(cache_dir: Path) -> Path:
    """The part of CACHE_DIR that is laid out as a cache of ModelScope's."""
    return cache_dir / "modelscope"


def web_file(weights: WeightsFile, cache_dir: Path) -> Path:
    """Where a file that is downloaded by its address lies in CACHE_DIR."""
    return cache_dir / "web" / weights.file_name


def download(
    weights: WeightsFile,
    weights_dir: Path,
    cache_dir: Path,
    *,
    progress: Progress | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> Path:
    """Download into ``cache_dir``, going on from what an interrupted download left there.

    A file that is there already is only checked against the size and SHA-256 that the repository
    lists, as a new one is; one that differs never stays.  By its address, a file is always
    downloaded anew, and checked against the SHA-256 in the table.

    ``weights_dir`` is where the message of an error says to put the file by hand.  Progress is
    logged if not asked for otherwise.  Raises DownloadError.
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
            f"{weights.name} cannot be downloaded: {outcome.reason}. Try again (it goes on where "
            f"it stopped), or by hand: take {source.path} from the page of "
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
            f"{weights.name} cannot be downloaded: {error}. Try again (it goes on where it "
            f"stopped), or by hand: put {url} into {weights_dir} as {weights.file_name}"
        ) from error
    return path


class _Message(BaseModel):
    """What ``fetch.py`` prints."""

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
    # A process of its own: the client reads its time limits from the environment, once, when it
    # is imported; its threads cannot be stopped; and it draws its own progress bars.
    environment = {
        "MODELSCOPE_LOG_LEVEL": "CRITICAL",  # what matters comes back as a message
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
        start_new_session=True,  # Ctrl-C reaches it through its stdin only, without a traceback
    ) as child:  # leaving this block, however, closes the child's stdin, which ends it
        assert child.stdout is not None
        for line in child.stdout:
            message = _MESSAGE.validate_json(line)
            if not isinstance(message, _Received):
                outcome = message
            else:
                progress(message.received, message.total)
    return outcome or _Failed(reason=f"modelscope's client ended with status {child.returncode}")
