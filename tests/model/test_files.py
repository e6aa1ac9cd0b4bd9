import os

import pytest

from model.files import written_whole


def test_a_file_is_replaced_once_it_is_whole(tmp_path):
    path = tmp_path / "best.pt"
    path.write_bytes(b"old")
    with written_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "best.pt"
    path.write_bytes(b"old")

    def fail() -> None:
        with written_whole(path) as file:
            file.write(b"half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    path = tmp_path / "best.pt"
    seen: list[tuple[int, bool]] = []

    def fsync(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with written_whole(path) as file:
        file.write(b"weights")
    assert seen == [(len(b"weights"), False)]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "none" / "best.pt"):
        pass
