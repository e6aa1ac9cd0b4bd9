import logging
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from model.checkpoints.download import DownloadError, Patience, download, modelscope_dir
from model.checkpoints.table import BFR_256, ModelScopeFile, WeightsFile
from tests.planted import plant

REPOSITORY = "iic/cv_test"
FILE = "weights/pytorch_model.pt"
WEIGHTS = WeightsFile(
    name="test-weights",
    file_name="TEST.pth",
    licence="none",
    commercial=False,
    modelscope=ModelScopeFile("cv_test", FILE),
)
CONTENT = random.Random(0).randbytes(300_000)
IMPATIENT = Patience(idle_s=1, retries=1)


@pytest.fixture
def stand_in(modelscope):
    modelscope.files[REPOSITORY, FILE] = CONTENT
    modelscope.files[REPOSITORY, "README.md"] = b"not asked for"
    return modelscope


@pytest.fixture
def folders(tmp_path):
    return tmp_path / "weights", tmp_path / "cache"


def complete_files(folder: Path) -> list[Path]:
    """All there is but the client's own files."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not {".lock", "credentials"} & set(path.parts)
    ]


def test_full_download(stand_in, folders, no_modelscope):
    seen = []
    path = download(WEIGHTS, *folders, progress=lambda *bytes_: seen.append(bytes_))
    assert path.read_bytes() == CONTENT
    assert stand_in.bytes_sent == len(CONTENT)
    assert complete_files(folders[1]) == [path]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [received for received, _ in seen] == sorted(received for received, _ in seen)
    assert not no_modelscope.parent.parent.exists()  # the home folder


def test_second_download_only_verifies(stand_in, folders):
    path = download(WEIGHTS, *folders)
    stand_in.bytes_sent = 0
    assert download(WEIGHTS, *folders) == path
    assert stand_in.bytes_sent == 0


def test_damaged_file_is_replaced(stand_in, folders):
    path = download(WEIGHTS, *folders)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert download(WEIGHTS, *folders).read_bytes() == CONTENT


def test_broken_connection_goes_on_where_it_stopped(stand_in, folders):
    stand_in.break_after, stand_in.breaks = 120_000, 1
    assert download(WEIGHTS, *folders).read_bytes() == CONTENT
    assert stand_in.ranges == [None, "bytes=120000-"]
    assert stand_in.bytes_sent == len(CONTENT)


def test_next_download_goes_on_where_a_failed_one_stopped(stand_in, folders):
    stand_in.break_after, stand_in.breaks = 120_000, -1
    with pytest.raises(DownloadError, match="the connection broke"):
        download(WEIGHTS, *folders, patience=IMPATIENT)
    assert not [path for path in complete_files(folders[1]) if path.suffix == ".pt"]
    stand_in.breaks = 0
    first = []
    path = download(WEIGHTS, *folders, progress=lambda *bytes_: first.append(bytes_))
    assert path.read_bytes() == CONTENT
    assert stand_in.ranges[-1] == "bytes=120000-"
    assert stand_in.bytes_sent == len(CONTENT)
    assert first[0][0] >= 120_000


def test_download_given_up_midway_ends_the_client(stand_in, folders):
    class GivenUpError(Exception):
        pass

    def give_up(*_):
        raise GivenUpError

    stand_in.break_after, stand_in.breaks = 120_000, -1
    began = time.monotonic()
    with pytest.raises(GivenUpError):
        download(WEIGHTS, *folders, progress=give_up, patience=Patience(retries=10))
    assert time.monotonic() - began < 10
    asked = len(stand_in.requests)
    time.sleep(1)
    assert len(stand_in.requests) == asked


def test_corrupt_content_is_refused_and_not_kept(stand_in, folders):
    stand_in.corrupt = True
    with pytest.raises(DownloadError, match="another file than it lists"):
        download(WEIGHTS, *folders, patience=IMPATIENT)
    assert complete_files(folders[1]) == []


@pytest.mark.parametrize("silent", ["listing", "file"])
def test_silent_server_is_given_up(stand_in, folders, silent):
    stand_in.silent = silent
    began = time.monotonic()
    with pytest.raises(DownloadError, match="did not answer in time"):
        download(WEIGHTS, *folders, patience=IMPATIENT)
    assert time.monotonic() - began < 15  # two requests of a second each


def test_server_down(stand_in, folders, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(DownloadError, match="cannot be reached"):
        download(WEIGHTS, *folders)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (ModelScopeFile("cv_test", "other.pt"), "iic/cv_test does not list other.pt"),
        (ModelScopeFile("cv_other", "other.pt"), "there is no such repository"),
    ],
)
def test_missing_file_or_repository(stand_in, folders, source, reason):
    with pytest.raises(DownloadError, match=reason):
        download(replace(WEIGHTS, modelscope=source), *folders)


def test_message_says_how_to_fetch_by_hand(stand_in, folders, capfd):
    stand_in.status = 500
    with pytest.raises(DownloadError) as caught:
        download(WEIGHTS, *folders, patience=IMPATIENT)
    message = str(caught.value)
    assert "weights/pytorch_model.pt from the page of iic/cv_test on ModelScope" in message
    assert f"put it into {folders[0]} as TEST.pth" in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_cache_that_cannot_be_written(stand_in, folders):
    folders[1].write_text("a file")
    with pytest.raises(DownloadError, match=r"Not a directory|File exists"):
        download(WEIGHTS, *folders)


def test_what_is_published_nowhere(folders):
    with pytest.raises(DownloadError, match=f"into {folders[0]} as GPEN-BFR-256.pth"):
        download(BFR_256, *folders)


def test_progress_is_logged_by_default(stand_in, folders, caplog):
    stand_in.files[REPOSITORY, FILE] = bytes(3_000_000)
    with caplog.at_level(logging.INFO, logger="model.checkpoints.download"):
        download(WEIGHTS, *folders)
    assert caplog.messages[-1] == "downloading test-weights: 3 of 3 MB"
    assert len(caplog.messages) <= 11


def test_environment_of_the_client_wins(stand_in, folders, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_REPO_TREE_PAGE_TIMEOUT_SECONDS", "1")
    monkeypatch.setenv("MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS", "1")
    stand_in.silent = "listing"
    began = time.monotonic()
    with pytest.raises(DownloadError, match="did not answer in time"):
        download(WEIGHTS, *folders, patience=Patience(idle_s=60))
    assert time.monotonic() - began < 10


def test_cookies_in_the_cache_are_not_unpickled(stand_in, folders, tmp_path):
    """Whoever can write into the cache must not have code run."""
    plant(modelscope_dir(folders[1]) / "credentials" / "cookies", tmp_path / "ran")
    download(WEIGHTS, *folders)
    assert not (tmp_path / "ran").exists()
