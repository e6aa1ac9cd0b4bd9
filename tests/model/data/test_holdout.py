import logging
from pathlib import Path

import pytest

from model.data.config import DataConfig
from model.data.holdout import split_faces


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Forty files, named by number, that hold their number."""
    paths = [tmp_path / "faces" / f"{i:02d}.png" for i in range(40)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        path.write_text("." * i)
    return paths


def test_some_are_set_aside_where_none_are_named(files, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        split = split_faces(files, tmp_path / "faces", DataConfig())
    assert len(split.held_out) == 4  # a tenth, being less than 64
    assert sorted([*split.trained_on, *split.held_out]) == files
    assert "4 of 40 faces are held out for validation" in caplog.text
    two = split_faces(files, tmp_path / "faces", DataConfig(holdout_count=2))
    assert set(two.held_out) < set(split.held_out)


def test_which_are_set_aside_depends_on_their_names_alone(files, tmp_path):
    moved = [tmp_path / "elsewhere" / path.name for path in files]
    ours = split_faces(files, tmp_path / "faces", DataConfig())
    theirs = split_faces(moved[::-1], tmp_path / "elsewhere", DataConfig())
    assert {p.name for p in ours.held_out} == {p.name for p in theirs.held_out}
    first = [path.name for path in files[:4]]
    assert [p.name for p in ours.held_out] != first  # spread, not the first of a sorted folder


@pytest.mark.parametrize("data", [{"holdout_count": 0}, {}])
def test_with_none_the_log_says_so(files, tmp_path, caplog, data):
    few = files if data else files[:9]
    split = split_faces(few, tmp_path / "faces", DataConfig.model_validate(data))
    assert (split.trained_on, split.held_out) == (few, [])
    assert "validation uses faces that are trained on" in caplog.text


def test_those_that_are_named(files, tmp_path):
    listed = tmp_path / "holdout.txt"
    listed.write_text("faces/03.png\nfaces/30.png\n")
    split = split_faces(files, tmp_path / "faces", DataConfig(holdout=listed))
    assert split.held_out == [files[3], files[30]]
    listed.write_text("".join(f"faces/{path.name}\n" for path in files))
    with pytest.raises(ValueError, match=r"no faces remain to train on: .*holdout\.txt lists all"):
        split_faces(files, tmp_path / "faces", DataConfig(holdout=listed))


def test_fingerprints_tell_other_faces_but_not_where_they_lie(files, tmp_path):
    folder = tmp_path / "faces"
    split = split_faces(files, folder, DataConfig())
    fingerprint = split.fingerprint(folder)
    assert split_faces(files[1:], folder, DataConfig()).fingerprint(folder) != fingerprint
    fewer = split_faces(files, folder, DataConfig(holdout_count=3))
    assert fewer.fingerprint(folder) != fingerprint
    folder.rename(tmp_path / "moved")
    moved = [tmp_path / "moved" / path.name for path in files]
    again = split_faces(moved, tmp_path / "moved", DataConfig())
    assert again.fingerprint(tmp_path / "moved") == fingerprint
    moved[5].write_text("other faces may have the same names")
    assert again.fingerprint(tmp_path / "moved") != fingerprint
