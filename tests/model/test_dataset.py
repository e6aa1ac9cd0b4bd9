import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from model import dataset as dataset_module
from model.dataset import (
    DegradedFaces,
    EpochBatches,
    PairedFaces,
    batches_per_epoch,
    evaluation_pairs,
    open_training_data,
    to_float,
    to_tensor,
)
from model.degradation import RECIPES, RecipeName, degrade
from model.degrade import make_pairs
from model.pictures import FaceFiles, PictureFiles, find_faces, find_pairs, read_groups


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
def test_workers_do_not_change_pairs(faces, workers):
    dataset = DegradedFaces(faces, dict.fromkeys(RECIPES, 1.0), seed=0)
    batches = EpochBatches(len(dataset), 2, seed=0, start=1, stop=5)
    alone = list(DataLoader(dataset, batch_sampler=batches))
    shared = list(DataLoader(dataset, batch_sampler=batches, num_workers=workers))
    assert len(alone) == len(shared) == 4
    for ours, theirs in zip(alone, shared, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_faces_in_files_give_the_same_pairs_as_in_memory(dataset, face_folder):
    files = FaceFiles(find_faces(face_folder), 64)
    lazy = DegradedFaces(files, {"gpen": 3.0, "light": 1.0}, seed=0)
    for key in ((0, 0), (0, 5), (7, 3)):
        for ours, theirs in zip(lazy[key], dataset[key], strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
def test_a_broken_face_does_not_end_training_and_is_told_of_once(face_folder, caplog, capfd):
    (face_folder / "2.png").write_bytes((face_folder / "2.png").read_bytes()[:1000])
    files = FaceFiles(find_faces(face_folder), 64)
    lazy = DegradedFaces(files, {"light": 1.0}, seed=0)
    batches = EpochBatches(len(lazy), 3, seed=0, start=0, stop=6)
    handler = logging.StreamHandler()  # as inherited by the workers
    handler.setFormatter(logging.Formatter("here: %(message)s"))  # others may have theirs
    logging.getLogger("model.pictures").addHandler(handler)
    try:
        shared = list(DataLoader(lazy, batch_sampler=batches, num_workers=2))
        alone = list(DataLoader(lazy, batch_sampler=batches))
    finally:
        logging.getLogger("model.pictures").removeHandler(handler)
    assert len(shared) == 6
    for ours, theirs in zip(alone, shared, strict=True):
        assert torch.equal(ours[1], theirs[1])
    # two workers may come upon it at the same moment
    assert capfd.readouterr().err.count("here: skipped: ") in (1, 2)
    assert caplog.records == []  # the workers told of it, and the main process knows


@pytest.fixture
def pair_folder(face_folder: Path, tmp_path: Path) -> Path:
    make_pairs(face_folder, tmp_path / "pairs", RECIPES["realesrgan"], seed=0)
    return tmp_path / "pairs"


def test_given_pairs_are_mirrored_and_no_more(pair_folder, faces):
    pairs = PairedFaces(PictureFiles(find_pairs(pair_folder), 64), seed=0)
    originals = PictureFiles(find_pairs(pair_folder), 64)
    assert len(pairs) == 6
    mirrored = []
    for epoch in range(20):
        for index in (0, 4):
            low, high = pairs[epoch, index]
            expected = [to_tensor(to_float(half)) for half in originals[index]]
            mirrored.append(not torch.equal(high, expected[1]))
            if mirrored[-1]:
                expected = [half.flip(2) for half in expected]
            assert torch.equal(low, expected[0])
            assert torch.equal(high, expected[1])
    assert 10 < sum(mirrored) < 30
    again = PairedFaces(PictureFiles(find_pairs(pair_folder), 64), seed=0)
    for epoch in range(4):
        assert torch.equal(again[epoch, 1][0], pairs[epoch, 1][0])


def test_a_pair_with_a_broken_half_is_replaced_whole(pair_folder, caplog):
    (pair_folder / "lq" / "1.png").write_text("no picture")
    pairs = PictureFiles(find_pairs(pair_folder), 64)
    for _ in range(3):
        assert np.array_equal(pairs[1], pairs[2])
    assert len(caplog.records) == 1
    assert "lq/1.png" in caplog.text


RECIPE_SHARES: dict[RecipeName, float] = {"gpen": 1.0}


def test_a_folder_of_faces_is_opened(face_folder, faces):
    data = open_training_data(face_folder, None, 64, RECIPE_SHARES, 3)
    assert isinstance(data.dataset, DegradedFaces)
    expected = DegradedFaces(faces, RECIPE_SHARES, seed=3)[1, 2]
    assert torch.equal(data.dataset[1, 2][0], expected[0])
    low, high = evaluation_pairs(faces)
    assert torch.equal(data.low, low)
    assert torch.equal(data.high, high)


def test_a_folder_too_large_for_memory_stays_on_disk(face_folder, monkeypatch):
    def refuse(paths, size):
        assert len(paths) < 6, "read whole"
        return read_groups([(path,) for path in paths], size)[:, 0]

    holdout = face_folder.parent / "holdout.txt"
    holdout.write_text("faces/3.png\n")
    in_memory = open_training_data(face_folder, holdout, 64, RECIPE_SHARES, 3)
    monkeypatch.setattr(dataset_module, "MEMORY_LIMIT", 5 * 64 * 64 * 3 - 1)
    on_disk = open_training_data(face_folder, holdout, 64, RECIPE_SHARES, 3)
    assert isinstance(on_disk.dataset, DegradedFaces)
    assert isinstance(on_disk.dataset.faces, FaceFiles)
    assert len(on_disk.dataset) == 5
    assert torch.equal(on_disk.dataset[0, 4][0], in_memory.dataset[0, 4][0])
    assert len(on_disk.low) == 1


def test_a_folder_of_pairs_is_opened(pair_folder, faces):
    holdout = pair_folder / "holdout.txt"
    holdout.write_text("hq/4.png\nhq/0.png\n")
    data = open_training_data(pair_folder, holdout, 64, RECIPE_SHARES, 3)
    assert isinstance(data.dataset, PairedFaces)
    assert len(data.dataset) == 4
    assert data.low.shape == data.high.shape == (2, 3, 64, 64)
    assert torch.equal(data.high[1], to_tensor(to_float(faces[4])))
    assert not torch.equal(data.low[1], data.high[1])
    trained_on = [data.dataset[0, index][1] for index in range(4)]
    for held_out in data.high:
        for face in trained_on:
            assert not torch.equal(face, held_out)
            assert not torch.equal(face.flip(2), held_out)


def test_pairs_are_validated_on_without_a_holdout_too(pair_folder):
    (pair_folder / "hq" / "1.png").write_text("no picture")
    data = open_training_data(pair_folder, None, 64, RECIPE_SHARES, 3)
    assert len(data.dataset) == 6
    assert len(data.low) == 5  # the broken one is not replaced: it would count twice


@pytest.mark.parametrize("half", ["", "hq/"])
def test_a_holdout_of_everything(face_folder, pair_folder, half):
    folder = pair_folder if half else face_folder
    holdout = folder / "holdout.txt"
    holdout.write_text("\n".join(f"{half}{i}.png" for i in range(6)))
    with pytest.raises(ValueError, match="nothing to train on"):
        open_training_data(folder, holdout, 64, RECIPE_SHARES, 3)


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


def test_parts_of_a_batch_are_shared_out():
    whole = list(EpochBatches(17, 8, seed=5, start=1, stop=4))
    for processes in (1, 2, 4):
        shares = [
            list(EpochBatches(17, 8, 5, 1, 4, parts=4, taken=range(process, 4, processes)))
            for process in range(processes)
        ]
        assert {len(share) for share in shares} == {3 * 4 // processes}
        together = [part for turn in zip(*shares, strict=True) for part in turn]
        steps = [together[i : i + 4] for i in range(0, 12, 4)]
        assert [[key for part in step for key in part] for step in steps] == whole
        assert {len(part) for part in together} == {2}
    assert len(EpochBatches(17, 8, 5, 1, 4, parts=4, taken=(0, 2))) == 6


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
