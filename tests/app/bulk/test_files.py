"""Files that are whole or not there."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.bulk.files import is_unfinished, write_new, write_whole
from app.bulk.origin import Origin
from tests.conftest import REPOSITORY


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_written_with_its_folders_and_the_usual_rights(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.jpg"
    write_whole(target, b"picture")
    assert target.read_bytes() == b"picture"
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert names(target.parent) == ["a.jpg"]


@pytest.mark.parametrize("aim", ["real.jpg", "nowhere.jpg", "folder"])
def test_nothing_is_written_through_a_link(tmp_path: Path, aim: str) -> None:
    (tmp_path / "real.jpg").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link.jpg"
    link.symlink_to(aim)
    assert not write_new(link, b"new")
    assert link.is_symlink()
    write_whole(link, b"new")
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"
    assert (tmp_path / "real.jpg").read_bytes() == b"old"
    assert sorted(names(tmp_path)) == ["folder", "link.jpg", "real.jpg"]


def test_a_new_file_is_written_over_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in ("a", "b"):
        assert write_new(tmp_path / "new" / name, b"first")
        assert not write_new(tmp_path / "new" / name, b"second")
        assert (tmp_path / "new" / name).read_bytes() == b"first"
        monkeypatch.setattr(Path, "hardlink_to", no_links)  # as on FAT
    assert sorted(names(tmp_path / "new")) == ["a", "b"]


@pytest.mark.parametrize(("given", "expected"), [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644)])
def test_who_may_not_read_the_photo_may_not_read_the_result(
    tmp_path: Path, given: int, expected: int
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.touch()
    photo.chmod(given)
    for target, write in ((tmp_path / "a", write_whole), (tmp_path / "b", write_new)):
        write(target, b"result", Origin.of(photo))
        assert stat.S_IMODE(target.stat().st_mode) == expected


def test_a_pipe_is_written_to() -> None:
    command = (
        "from pathlib import Path; from app.bulk.files import write_whole; "
        "write_whole(Path('/dev/stdout'), b'picture')"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=REPOSITORY, capture_output=True, check=True, timeout=60
    )
    assert done.stdout == b"picture"


def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a.jpg").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a.jpg", b"new")
    assert names(tmp_path) == ["a.jpg"]
    assert (tmp_path / "a.jpg").read_bytes() == b"old"


def test_killed_while_writing_it_leaves_no_half_file(tmp_path: Path) -> None:
    """Killed again and again at any moment; what is there is whole, and the rest is named so."""
    command = (
        "from pathlib import Path; from app.bulk.files import write_whole; import itertools\n"
        f"for i in itertools.count(): write_whole(Path({str(tmp_path)!r}, 'a'), b'%d' % (i % 10) *"
        " 3_000_000)"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", command], cwd=REPOSITORY)
        (tmp_path / "a").unlink(missing_ok=True)
        deadline = time.monotonic() + 60
        while not (tmp_path / "a").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        written = (tmp_path / "a").read_bytes()
        assert len(written) == 3_000_000
        assert len(set(written)) == 1
        assert all(name == "a" or is_unfinished(name) for name in names(tmp_path))
