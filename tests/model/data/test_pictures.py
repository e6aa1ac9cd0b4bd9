import logging
import multiprocessing
import re

import cv2
import numpy as np
import pytest

from model.data.pictures import (
    FaceFiles,
    PictureFiles,
    TooManyUnusableError,
    find_faces,
    find_pairs,
    holds_pairs,
    read_face,
    read_faces,
    split_holdout,
)


def test_faces_are_found_in_all_folders(face_folder):
    nested = face_folder / "a" / "b"
    nested.mkdir(parents=True)
    (face_folder / "5.png").rename(nested / "5.PNG")
    (face_folder / "notes.txt").write_text("no picture")
    found = [path.relative_to(face_folder).as_posix() for path in find_faces(face_folder)]
    assert found == ["0.png", "1.png", "2.png", "3.png", "4.png", "a/b/5.PNG"]


def test_linked_folders_are_followed(face_folder):
    """Once each, by their own path where they have one, and round no circle."""
    elsewhere = face_folder.parent / "elsewhere"
    elsewhere.mkdir()
    (face_folder / "5.png").rename(elsewhere / "5.png")
    (face_folder / "z").mkdir()
    (face_folder / "4.png").rename(face_folder / "z" / "4.png")
    (face_folder / "a").symlink_to(elsewhere)
    (face_folder / "b").symlink_to(elsewhere)
    (face_folder / "c").symlink_to(face_folder / "z")
    (elsewhere / "back").symlink_to(face_folder)
    found = [path.relative_to(face_folder).as_posix() for path in find_faces(face_folder)]
    assert found == ["0.png", "1.png", "2.png", "3.png", "a/5.png", "z/4.png"]
    (face_folder.parent / "link").symlink_to(face_folder)
    assert len(find_faces(face_folder.parent / "link")) == 6


def test_no_faces_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match="no pictures"):
        find_faces(tmp_path)


def test_holdout_is_split_off(face_folder):
    (face_folder / "with space.png").write_bytes((face_folder / "0.png").read_bytes())
    holdout = face_folder.parent / "holdout.txt"
    holdout.write_text("faces/4.png\n\nfaces/with space.png\nfaces/1.png\n")
    trained_on, held_out = split_holdout(face_folder, holdout)
    assert [path.name for path in held_out] == ["1.png", "4.png", "with space.png"]
    assert [path.name for path in trained_on] == ["0.png", "2.png", "3.png", "5.png"]


def test_without_holdout(face_folder):
    trained_on, held_out = split_holdout(face_folder, None)
    assert len(trained_on) == 6
    assert held_out == []


def test_a_holdout_that_is_not_there(face_folder):
    """A misspelt list must not let the held-out faces into training."""
    holdout = face_folder / "holdout.txt"
    holdout.write_text("0.png\nnine.png\n")
    with pytest.raises(FileNotFoundError, match=r"nine\.png"):
        split_holdout(face_folder, holdout)


def test_faces_are_read_in_rgb_and_resized_by_area(tmp_path):
    red = np.zeros((128, 128, 3), dtype=np.uint8)
    red[..., 2] = 200  # OpenCV writes BGR
    red[::2, ::2, 1] = 100
    cv2.imwrite(str(tmp_path / "red.png"), red)
    face = read_face(tmp_path / "red.png", 64)
    assert face.shape == (64, 64, 3)
    assert face.dtype == np.uint8
    assert (face == [200, 25, 0]).all()


def test_unusable_faces_are_skipped_with_a_warning(face_folder, caplog):
    (face_folder / "1.png").write_bytes((face_folder / "1.png").read_bytes()[:100])
    (face_folder / "2.png").write_text("no picture")
    cv2.imwrite(str(face_folder / "3.png"), np.zeros((64, 65, 3), dtype=np.uint8))
    with caplog.at_level(logging.WARNING):
        read = read_faces(find_faces(face_folder), 64)
    assert len(read) == 3
    skipped = [record.getMessage() for record in caplog.records]
    assert ["1.png" in skipped[0], "2.png" in skipped[1], "3.png" in skipped[2]] == [True] * 3
    assert "not square" in skipped[2]


def test_nothing_but_unusable_faces(tmp_path):
    (tmp_path / "broken.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="none of 1 pictures"):
        read_faces(find_faces(tmp_path), 64)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_a_face_that_breaks_off_is_not_half_read(tmp_path, faces, suffix):
    path = tmp_path / f"face{suffix}"
    cv2.imwrite(str(path), faces[0])
    whole = path.read_bytes()
    assert read_face(path).shape == (64, 64, 3)
    for length in (0, 10, len(whole) // 2, len(whole) * 9 // 10, len(whole) - 20):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=re.escape(f"{path} cannot be read")):
            read_face(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot be read: .*No such file"):
        read_face(path)


@pytest.fixture
def pairs(face_folder):
    """Folder with lq/ and hq/ of six faces each."""
    folder = face_folder.parent / "pairs"
    folder.mkdir()
    face_folder.rename(folder / "hq")
    (folder / "lq").mkdir()
    for path in find_faces(folder / "hq"):
        (folder / "lq" / path.name).write_bytes(path.read_bytes())
    return folder


def test_pairs_are_found_by_name(pairs):
    for half, suffix in (("lq", ".png"), ("hq", ".jpg")):
        (pairs / half / "a").mkdir()
        (pairs / half / "2.png").rename(pairs / half / "a" / f"b{suffix}")
    assert holds_pairs(pairs)
    assert not holds_pairs(pairs / "hq")
    found = [
        tuple(path.relative_to(pairs).as_posix() for path in pair)
        for pair in find_pairs(pairs).pairs
    ]
    assert find_pairs(pairs).unmatched == []
    assert found[0] == ("lq/0.png", "hq/0.png")
    assert found[-1] == ("lq/a/b.png", "hq/a/b.jpg")
    assert len(found) == 6


@pytest.mark.parametrize(("half", "other"), [("lq", "hq"), ("hq", "lq")])
def test_pictures_without_counterpart_are_named(pairs, half, other):
    for name in ("3.png", "1.png"):
        (pairs / other / name).unlink()
    found = find_pairs(pairs)
    assert [high.stem for _, high in found.pairs] == ["0", "2", "4", "5"]
    assert found.unmatched == [
        f"{pairs / half / name} has no counterpart in {other}/" for name in ("1.png", "3.png")
    ]


def test_names_must_be_unique(pairs):
    (pairs / "hq" / "3.jpg").write_bytes((pairs / "hq" / "3.png").read_bytes())
    with pytest.raises(ValueError, match="hq has 2 pictures named 3"):
        find_pairs(pairs)


def test_an_empty_half(pairs):
    for path in (pairs / "lq").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no pictures in .*lq"):
        find_pairs(pairs)


def test_files_are_read_when_asked_for(face_folder, faces):
    files = FaceFiles(find_faces(face_folder), 64)
    assert len(files) == 6
    assert np.array_equal(files[4], faces[4])
    assert np.array_equal(
        FaceFiles(find_faces(face_folder), 32)[1], read_face(face_folder / "1.png", 32)
    )
    assert sum(1 for _ in iter(files)) == 6  # it ends


def test_in_place_of_a_broken_file_comes_another(face_folder, faces, caplog):
    for name in ("4.png", "5.png"):
        (face_folder / name).write_text("no picture")
    files = FaceFiles(find_faces(face_folder), 64)
    with caplog.at_level(logging.WARNING):
        first = [files[4], files[5]]
        for _ in range(3):  # always the same one
            assert np.array_equal(first, [files[4], files[5]])
    assert all(any(np.array_equal(face, good) for good in faces[:4]) for face in first)
    assert [name for name in ("4.png", "5.png") if name in caplog.text] == ["4.png", "5.png"]
    assert len(caplog.records) == 2


def test_substitutes_are_spread_over_all_faces(tmp_path):
    """Of 300 faces 250 are broken: none of the others stands in for most of them."""
    for i in range(300):
        path = tmp_path / f"{i:03}.png"
        if i < 250:
            path.write_text("no picture")
        else:
            cv2.imwrite(str(path), np.full((8, 8, 3), i - 200, dtype=np.uint8))
    files = FaceFiles(find_faces(tmp_path), 8)
    counts = np.bincount([int(files[i][0, 0, 0]) for i in range(300)], minlength=100)[50:]
    assert counts.sum() == 300
    assert counts.min() >= 1
    assert counts.max() <= 20


def test_more_broken_files_than_are_allowed(face_folder):
    paths = find_faces(face_folder)
    for path in paths[:2]:
        path.write_text("no picture")
    one_is_allowed = FaceFiles(paths, 64, spare=1)
    one_is_allowed[0]
    with pytest.raises(TooManyUnusableError, match="2 of 6 pictures cannot be decoded"):
        one_is_allowed[1]
    with pytest.raises(TooManyUnusableError, match="2 of 6"):
        read_faces(paths, 64, spare=1)
    assert len(read_faces(paths, 64, spare=2)) == 4


def test_a_file_that_is_there_again_is_used_again(face_folder, faces):
    whole = (face_folder / "2.png").read_bytes()
    files = FaceFiles(find_faces(face_folder), 64)
    (face_folder / "2.png").unlink()
    assert not np.array_equal(files[2], faces[2])
    (face_folder / "2.png").write_bytes(whole)
    assert np.array_equal(files[2], faces[2])


def test_none_of_the_files_can_be_used(face_folder):
    for path in find_faces(face_folder):
        path.write_text("no picture")
    with pytest.raises(ValueError, match="none of 6 pictures"):
        FaceFiles([face_folder / f"{i}.png" for i in range(6)], 64)[3]


def test_what_a_process_told_another_need_not(face_folder, caplog):
    (face_folder / "0.png").write_text("no picture")
    files = PictureFiles([(path,) for path in find_faces(face_folder)], 64)
    process = multiprocessing.get_context("fork").Process(target=files.__getitem__, args=(0,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert files[0].shape == (1, 64, 64, 3)
    assert caplog.records == []
