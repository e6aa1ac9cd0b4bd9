"""What is said of a data set before the first step."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from model.data.pictures import find_faces
from model.data.survey import survey, usable_groups


def write(path: Path, width: int, height: int) -> None:
    assert cv2.imwrite(str(path), np.zeros((height, width, 3), dtype=np.uint8))


@pytest.fixture
def folder(face_folder: Path) -> Path:
    """Of six faces of 64 px: one is no picture, one not square, one of 60 px; and one more."""
    (face_folder / "1.png").write_text("no picture")
    write(face_folder / "2.png", 64, 65)
    write(face_folder / "3.png", 60, 60)
    (face_folder / "6.png").write_bytes((face_folder / "0.png").read_bytes()[:20])
    return face_folder


def test_every_picture_is_looked_at(folder):
    found = survey([(path,) for path in find_faces(folder)], 64)
    assert [path.name for (path,) in found.usable] == ["0.png", "3.png", "4.png", "5.png"]
    assert [reason.removeprefix(str(folder)) for reason in found.unusable] == [
        "/1.png cannot be read as a picture",
        "/2.png is not square: 64x65",
        "/6.png cannot be read as a picture",
    ]
    assert [path.name for path in found.small] == ["3.png"]


def test_a_pair_is_one(folder):
    """Either half makes it unusable; its target alone can be too small."""
    zero, broken, small = (folder / name for name in ("0.png", "1.png", "3.png"))
    found = survey([(small, zero), (zero, small), (zero, broken), (broken, zero)], 64)
    assert found.usable == [(small, zero), (zero, small)]
    assert len(found.unusable) == 2
    assert found.small == [small]


def test_the_margin_is_no_part_of_the_target(face_folder):
    groups = [(path,) for path in find_faces(face_folder)]
    assert len(survey(groups, 51, 0.125).small) == 0
    assert len(survey(groups, 52, 0.125).small) == 6


def test_what_is_unusable_is_counted_and_named(folder, caplog):
    groups = [(path,) for path in find_faces(folder)]
    with caplog.at_level(logging.WARNING):
        usable = usable_groups(groups, 64, unmatched=["9.png has no counterpart"], limit=0.7)
    assert len(usable.groups) == 4
    assert usable.spare == 1  # of eight, five may be unusable, and four are
    left_out, enlarged = (record.getMessage() for record in caplog.records)
    assert left_out.startswith("4 of 8 pictures or pairs cannot be used")
    for name in ("1.png", "2.png", "6.png", "9.png has no counterpart"):
        assert name in left_out
    assert enlarged.startswith("1 of 4 targets are smaller than 64 px")
    assert "3.png" in enlarged


def test_too_much_is_refused_with_names(folder):
    groups = [(path,) for path in find_faces(folder)]
    with pytest.raises(ValueError, match=r"3 of 7 .*max_unusable .*0\.05: .*1\.png"):
        usable_groups(groups, 64, limit=0.05)
    with pytest.raises(ValueError, match="none of 1 pictures"):
        usable_groups([(folder / "1.png",)], 64, limit=1)


def test_of_many_names_the_first_are_shown(tmp_path, caplog):
    for i in range(40):
        write(tmp_path / f"{i:02}.png", 8, 8)
    with caplog.at_level(logging.WARNING):
        usable_groups([(path,) for path in find_faces(tmp_path)], 64, limit=0)
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.count(".png") == 10
    assert message.endswith("and 30 more")


def test_nothing_is_said_of_good_pictures(face_folder, caplog):
    groups = [(path,) for path in find_faces(face_folder)]
    assert usable_groups(groups, 64, limit=0.5) == (groups, 3)
    assert caplog.records == []


def test_headers_of_huge_pictures(tmp_path):
    """Pillow warns of those that it would not like to decode; nothing is decoded here."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "a.png", compress_level=1)
    assert len(survey([(tmp_path / "a.png",)], 64).usable) == 1
