import logging

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from model.dataset import (
    DegradedFaces,
    EpochBatches,
    batches_per_epoch,
    evaluation_pairs,
    find_faces,
    read_face,
    read_faces,
    split_holdout,
    to_float,
    to_tensor,
)
from model.degradation import RECIPES, degrade


def test_faces_are_found_in_all_folders(face_folder):
    nested = face_folder / "a" / "b"
    nested.mkdir(parents=True)
    (face_folder / "5.png").rename(nested / "5.PNG")
    (face_folder / "notes.txt").write_text("no picture")
    found = [path.relative_to(face_folder).as_posix() for path in find_faces(face_folder)]
    assert found == ["0.png", "1.png", "2.png", "3.png", "4.png", "a/b/5.PNG"]


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


def test_conversions():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert to_float(levels).dtype == np.float32
    assert np.array_equal(to_float(levels), levels.astype(np.float32) / np.float32(255))
    tensor = to_tensor(to_float(levels))
    assert tensor.shape == (3, 16, 16)
    assert tensor[0, 0, 0] == -1
    assert tensor[0, 15, 15] == 1
    assert tensor[0, 0, 1] == pytest.approx(-1 + 2 / 255)


@pytest.fixture
def dataset(faces) -> DegradedFaces:
    return DegradedFaces(faces, {"gpen": 3.0, "light": 1.0}, seed=0)


def test_pairs(dataset):
    for index in range(len(dataset)):
        low, high = dataset[0, index]
        for half in (low, high):
            assert half.shape == (3, 64, 64)
            assert half.dtype == torch.float32
            assert half.abs().max() <= 1
        assert not torch.equal(low, high)
        assert (low - high).abs().mean() < 0.5  # of the same face


def test_a_pair_depends_on_seed_epoch_and_index_alone(dataset, faces):
    low, high = dataset[3, 2]
    _ = dataset[4, 1]
    again = DegradedFaces(faces, {"gpen": 3.0, "light": 1.0}, seed=0)[3, 2]
    assert torch.equal(low, again[0])
    assert torch.equal(high, again[1])
    same_face = DegradedFaces(faces[[2, 2, 2, 2]], {"gpen": 3.0, "light": 1.0}, seed=0)
    assert not torch.equal(same_face[3, 1][1], same_face[3, 2][1])
    other_seed = DegradedFaces(faces, {"gpen": 3.0, "light": 1.0}, seed=1)
    for other in (dataset[2, 2], dataset[3, 1], other_seed[3, 2]):
        assert not torch.equal(high, other[1])


def test_recipes_are_used_by_their_shares(faces, monkeypatch):
    used = []

    def note(image, recipe, rng):
        used.append(recipe)
        return degrade(image, recipe, rng)

    monkeypatch.setattr("model.dataset.degrade", note)
    dataset = DegradedFaces(faces, {"gpen": 3.0, "light": 1.0}, seed=0)
    for epoch in range(40):
        dataset[epoch, 0]
    assert 3 <= used.count(RECIPES["light"]) <= 18
    assert used.count(RECIPES["gpen"]) == 40 - used.count(RECIPES["light"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_pairs(dataset, workers):
    batches = EpochBatches(len(dataset), 2, seed=0, start=1, stop=5)
    alone = list(DataLoader(dataset, batch_sampler=batches))
    shared = list(DataLoader(dataset, batch_sampler=batches, num_workers=workers))
    assert len(alone) == len(shared) == 4
    for ours, theirs in zip(alone, shared, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_batches_resume_exactly():
    whole = list(EpochBatches(17, 4, seed=5, start=0, stop=13))
    for step in range(14):
        rest = EpochBatches(17, 4, seed=5, start=step, stop=13)
        assert list(rest) == whole[step:]
        assert len(rest) == 13 - step


def test_an_epoch_sees_each_face_once():
    assert batches_per_epoch(17, 4) == 4
    batches = list(EpochBatches(17, 4, seed=0, start=0, stop=8))
    assert {len(batch) for batch in batches} == {4}
    for number, epoch in enumerate((batches[:4], batches[4:])):
        keys = [key for batch in epoch for key in batch]
        assert {epoch for epoch, _ in keys} == {number}
        assert len({index for _, index in keys}) == 16  # the seventeenth waits for another epoch
    assert [i for batch in batches[:4] for _, i in batch] != [i for b in batches[4:] for _, i in b]
    assert batches != list(EpochBatches(17, 4, seed=1, start=0, stop=8))


def test_fewer_faces_than_a_batch():
    assert batches_per_epoch(3, 8) == 1
    assert [len(batch) for batch in EpochBatches(3, 8, seed=0, start=0, stop=2)] == [3, 3]


def test_evaluation_pairs_are_fixed(faces):
    low, high = evaluation_pairs(faces)
    assert low.shape == high.shape == (6, 3, 64, 64)
    assert torch.equal(
        ((high + 1) * 127.5).round().byte(), torch.from_numpy(faces).permute(0, 3, 1, 2)
    )
    levels = (low + 1) * 127.5
    assert (levels - levels.round()).abs().max() < 1e-3
    # a face's seed is its place in the folder, so that leaving out the last changes nothing
    assert torch.equal(evaluation_pairs(faces[:4])[0], low[:4])
    expected = degrade(to_float(faces[2]), RECIPES["gpen"], np.random.default_rng(2))
    assert torch.equal(low[2], to_tensor(expected))
