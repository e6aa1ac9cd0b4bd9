import logging
import multiprocessing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from model.data import dataset as dataset_module
from model.data.config import DataConfig
from model.data.dataset import (
    DegradedFaces,
    PairedFaces,
    TrainingData,
    evaluation_pairs,
    open_training_data,
    to_halves,
    to_tensors,
)
from model.data.degradation import RECIPES, RecipeName
from model.data.degradation.operations import to_8_bit, to_float
from model.data.pictures import (
    FaceFiles,
    PictureFiles,
    TooManyUnusableError,
    find_faces,
    find_pairs,
)
from model.data.sampling import EpochBatches, SampleKey
from model.degrade import make_pairs
from model.training.loading import load_steps


def test_conversions():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    assert to_float(levels).dtype == np.float32
    assert np.array_equal(to_float(levels), levels.astype(np.float32) / np.float32(255))
    tensor = to_tensors(levels)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert tensor[0, 0, 0, 0] == -1
    assert tensor[0, 0, 15, 15] == 1
    assert tensor[0, 0, 0, 1] == pytest.approx(-1 + 2 / 255)
    low, high = to_halves(np.stack([levels[0], 255 - levels[0]])[None])
    assert torch.equal(low, tensor)
    torch.testing.assert_close(high, -tensor)


@pytest.fixture
def dataset(faces) -> DegradedFaces:
    return DegradedFaces(faces, {"gpen": 3.0, "light": 1.0}, seed=0)


def test_pairs(dataset):
    for index in range(len(dataset)):
        pair = dataset[SampleKey(0, index)]
        assert pair.shape == (2, 64, 64, 3)
        assert pair.dtype == np.uint8
        low, high = to_float(pair)
        assert not np.array_equal(low, high)
        assert np.abs(low - high).mean() < 0.25  # of the same face


def test_a_pair_depends_on_seed_and_key_alone(dataset, faces):
    pair = dataset[SampleKey(3, 2)]
    _ = dataset[SampleKey(4, 1)]
    shares: dict[RecipeName, float] = {"gpen": 3.0, "light": 1.0}
    assert np.array_equal(pair, DegradedFaces(faces, shares, seed=0)[SampleKey(3, 2)])
    same_face = DegradedFaces(faces[[2, 2, 2, 2]], shares, seed=0)
    assert not np.array_equal(same_face[SampleKey(3, 1)][0], same_face[SampleKey(3, 2)][0])
    other_seed = DegradedFaces(faces, shares, seed=1)[SampleKey(3, 2)]
    keys = SampleKey(2, 2), SampleKey(3, 1), SampleKey(3, 2, copy=1)
    for other in (other_seed, *(dataset[key] for key in keys)):
        assert not np.array_equal(pair[0], other[0])


def test_recipes_are_used_by_their_shares(faces):
    """What is hardly degraded is light's."""
    ranges = {"gpen": {"blur": (9, 10)}, "light": {"blur": (0.1, 0.1), "shrink": (1, 1)}}
    data = DataConfig.model_validate({"ranges": ranges})
    dataset = DegradedFaces(faces, {"gpen": 3.0, "light": 1.0}, seed=0, ranges=data.ranges)
    errors = []
    for epoch in range(40):
        low, high = to_float(dataset[SampleKey(epoch, 0)])
        errors.append(np.abs(low - high).mean())
    light = sum(error < 0.02 for error in errors)
    assert 3 <= light <= 18


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_pairs(faces, workers):
    dataset = DegradedFaces(faces, dict.fromkeys(RECIPES, 1.0), seed=0)
    batches = EpochBatches(len(dataset), 2, seed=0, start=1, stop=5)
    alone = list(DataLoader(dataset, batch_sampler=batches))
    shared = list(DataLoader(dataset, batch_sampler=batches, num_workers=workers))
    assert len(alone) == len(shared) == 4
    for ours, theirs in zip(alone, shared, strict=True):
        assert torch.equal(ours, theirs)


def test_faces_in_files_give_the_same_pairs_as_in_memory(dataset, face_folder):
    files = FaceFiles(find_faces(face_folder), 64)
    lazy = DegradedFaces(files, {"gpen": 3.0, "light": 1.0}, seed=0)
    for key in (SampleKey(0, 0), SampleKey(0, 5), SampleKey(7, 3)):
        assert np.array_equal(lazy[key], dataset[key])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
def test_a_broken_face_does_not_end_training_and_is_told_of_once(face_folder, caplog, capfd):
    (face_folder / "2.png").write_bytes((face_folder / "2.png").read_bytes()[:1000])
    files = FaceFiles(find_faces(face_folder), 64)
    lazy = DegradedFaces(files, {"light": 1.0}, seed=0)
    batches = EpochBatches(len(lazy), 3, seed=0, start=0, stop=6)
    handler = logging.StreamHandler()  # as inherited by the workers
    handler.setFormatter(logging.Formatter("here: %(message)s"))  # others may have theirs
    logging.getLogger("model.data.pictures").addHandler(handler)
    try:
        shared = list(DataLoader(lazy, batch_sampler=batches, num_workers=2))
        alone = list(DataLoader(lazy, batch_sampler=batches))
    finally:
        logging.getLogger("model.data.pictures").removeHandler(handler)
    assert len(shared) == 6
    for ours, theirs in zip(alone, shared, strict=True):
        assert torch.equal(ours, theirs)
    # two workers may come upon it at the same moment
    assert capfd.readouterr().err.count("here: skipped: ") in (1, 2)
    assert caplog.records == []  # the workers told of it, and the main process knows


@pytest.fixture
def pair_folder(face_folder: Path, tmp_path: Path) -> Path:
    make_pairs(face_folder, tmp_path / "pairs", RECIPES["realesrgan"], seed=0)
    return tmp_path / "pairs"


def test_given_pairs_are_mirrored_and_no_more(pair_folder, faces):
    pairs = PairedFaces(PictureFiles(find_pairs(pair_folder).pairs, 64), seed=0)
    originals = PictureFiles(find_pairs(pair_folder).pairs, 64)
    assert len(pairs) == 6
    mirrored = []
    for epoch in range(20):
        for index in (0, 4):
            pair, expected = pairs[SampleKey(epoch, index)], originals[index]
            mirrored.append(not np.array_equal(pair, expected))
            if mirrored[-1]:
                assert np.array_equal(pair, expected[:, :, ::-1])
    assert 10 < sum(mirrored) < 30
    again = PairedFaces(PictureFiles(find_pairs(pair_folder).pairs, 64), seed=0)
    for epoch in range(4):
        assert np.array_equal(again[SampleKey(epoch, 1)], pairs[SampleKey(epoch, 1)])
    never = PairedFaces(originals, seed=0, mirror=False)
    assert all(np.array_equal(never[SampleKey(epoch, 1)], originals[1]) for epoch in range(8))


def test_a_pair_with_a_broken_half_is_replaced_whole(pair_folder, caplog):
    (pair_folder / "lq" / "1.png").write_text("no picture")
    pairs = PictureFiles(find_pairs(pair_folder).pairs, 64)
    for _ in range(3):
        assert [i for i in (0, 2, 3, 4, 5) if np.array_equal(pairs[1], pairs[i])] != []
    assert len(caplog.records) == 1
    assert "lq/1.png" in caplog.text


def opened(folder: Path, *, validate: bool = True, **settings: Any) -> TrainingData:
    data = DataConfig.model_validate({"folder": folder, "recipes": {"gpen": 1}} | settings)
    return open_training_data(data, 64, 3, validate=validate)


def test_a_folder_of_faces_is_opened(face_folder, faces):
    data = opened(face_folder)
    assert isinstance(data.dataset, DegradedFaces)
    key = SampleKey(1, 2)
    assert np.array_equal(data.dataset[key], DegradedFaces(faces, {"gpen": 1.0}, seed=3)[key])
    assert np.array_equal(data.validated, evaluation_pairs(faces))
    assert len(opened(face_folder, validate=False).validated) == 0


def test_a_folder_too_large_for_memory_stays_on_disk(face_folder, monkeypatch):
    holdout = face_folder.parent / "holdout.txt"
    holdout.write_text("faces/3.png\n")
    in_memory = opened(face_folder, holdout=holdout)
    monkeypatch.setattr(dataset_module, "MEMORY_LIMIT", 5 * 64 * 64 * 3 - 1)
    on_disk = opened(face_folder, holdout=holdout)
    assert isinstance(in_memory.dataset, DegradedFaces)
    assert isinstance(in_memory.dataset.faces, np.ndarray)
    assert isinstance(on_disk.dataset, DegradedFaces)
    assert isinstance(on_disk.dataset.faces, FaceFiles)
    assert len(on_disk.dataset) == 5
    key = SampleKey(0, 4)
    assert np.array_equal(on_disk.dataset[key], in_memory.dataset[key])
    assert len(on_disk.validated) == 1


def test_what_is_validated_on_does_not_follow_the_ranges_of_training(face_folder, faces):
    data = opened(face_folder, ranges={"gpen": {"noise": (0, 1)}}, augmentation="none")
    assert np.array_equal(data.validated, evaluation_pairs(faces))
    low, high = to_float(data.dataset[SampleKey(0, 0)])
    published = opened(face_folder, augmentation="none").dataset[SampleKey(0, 0)]
    assert np.array_equal(to_8_bit(high), published[1])
    assert not np.array_equal(to_8_bit(low), published[0])


@pytest.fixture
def folders(face_folder: Path, faces) -> Path:
    """Two folders, ``a`` with the six faces and ``b`` with two of them."""
    root = face_folder.parent / "root"
    root.mkdir()
    face_folder.rename(root / "a")
    (root / "b").mkdir()
    for i in (0, 1):
        (root / "b" / f"{i}.png").write_bytes((root / "a" / f"{i}.png").read_bytes())
    return root


def test_folders_have_weights(folders):
    (folders / "holdout.txt").write_text("a/5.png\nb/0.png\n")
    data = opened(folders, folders={"a": 1, "b": 3}, holdout=folders / "holdout.txt")
    assert data.dataset.weights == [1.0] * 5 + [3.0]
    assert len(data.validated) == 2
    assert opened(folders).dataset.weights is None  # all of the root, once
    assert len(opened(folders, folders={"b": 1}).dataset) == 2


def test_folders_that_cannot_be_used(folders):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        opened(folders, folders={"nowhere": 1})
    with pytest.raises(ValueError, match="another folder"):
        opened(folders, folders={"a": 1, ".": 1})
    (folders / "holdout.txt").write_text("a/5.png\n")
    with pytest.raises(FileNotFoundError, match=r"a/5\.png"):
        opened(folders, folders={"b": 1}, holdout=folders / "holdout.txt")


def test_the_margin_is_no_part_of_the_crop(tmp_path):
    """Of 80 px with a margin of 0.125, the crop is the middle 64."""
    picture = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "face.png"), picture[..., ::-1])
    data = opened(tmp_path, margin=0.125, augmentation="none")
    assert np.array_equal(data.validated[0, 1], picture[8:72, 8:72])
    assert np.array_equal(data.dataset[SampleKey(0, 0)][1], picture[8:72, 8:72])
    strong = opened(tmp_path, margin=0.125, augmentation="strong").dataset
    targets = [strong[SampleKey(epoch, 0)][1] for epoch in range(4)]
    assert {target.shape for target in targets} == {(64, 64, 3)}
    assert len({target.tobytes() for target in targets}) == 4


def test_a_folder_of_pairs_is_opened(pair_folder, faces):
    holdout = pair_folder / "holdout.txt"
    holdout.write_text("hq/4.png\nhq/0.png\n")
    data = opened(pair_folder, holdout=holdout)
    assert isinstance(data.dataset, PairedFaces)
    assert len(data.dataset) == 4
    assert data.validated.shape == (2, 2, 64, 64, 3)
    assert np.array_equal(data.validated[1, 1], faces[4])
    assert not np.array_equal(data.validated[1, 0], faces[4])
    trained_on = [data.dataset[SampleKey(0, index)][1] for index in range(4)]
    for held_out in data.validated[:, 1]:
        for face in trained_on:
            assert not np.array_equal(face, held_out)
            assert not np.array_equal(face[:, ::-1], held_out)
    with pytest.raises(ValueError, match="pairs"):
        opened(pair_folder, folders={"hq": 1})


def test_pairs_are_validated_on_without_a_holdout_too(pair_folder):
    data = opened(pair_folder)
    assert len(data.dataset) == 6
    assert len(data.validated) == 6


@pytest.mark.parametrize("strong", [False, True])
def test_unusable_faces_up_to_a_share(face_folder, caplog, strong):
    """One shows in its header, the other only when it is decoded."""
    augmentation = "strong" if strong else "flip"
    (face_folder / "1.png").write_text("no picture")
    whole = (face_folder / "3.png").read_bytes()
    (face_folder / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"1 of 6 pictures.*1\.png"):
        opened(face_folder, augmentation=augmentation)
    one_allowed = {"max_unusable": 0.2, "augmentation": augmentation}

    def trained_on(**settings: Any) -> list[Any]:
        dataset = opened(face_folder, validate=False, **settings).dataset
        return [dataset[SampleKey(0, i)] for i in range(len(dataset))]

    with pytest.raises(TooManyUnusableError, match="1 of 5 pictures cannot be decoded"):
        trained_on(**one_allowed)
    caplog.clear()
    assert len(trained_on(**one_allowed | {"max_unusable": 0.4})) == (5 if strong else 4)
    assert "1.png cannot be read" in caplog.text
    assert "3.png cannot be read" in caplog.text


def test_pairs_that_do_not_match_up_to_a_share(pair_folder, caplog):
    (pair_folder / "lq" / "2.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 6 .*hq/2\.png has no counterpart in lq/"):
        opened(pair_folder)
    assert len(opened(pair_folder, max_unusable=0.2).dataset) == 5
    assert "hq/2.png has no counterpart in lq/" in caplog.text


def test_a_worker_ends_a_run_in_one_line(face_folder, make_config, monkeypatch):
    for name in ("0.png", "1.png"):
        whole = (face_folder / name).read_bytes()
        (face_folder / name).write_bytes(whole[: len(whole) // 2])
    config = make_config()
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"workers": 1, "folder": face_folder})}
    )
    data = opened(face_folder, augmentation="strong", max_unusable=0.2, validate=False)
    monkeypatch.setattr(data.dataset, "augment", lambda face, _: face)  # OpenCV's threads and forks
    with pytest.raises(TooManyUnusableError) as raised:
        list(load_steps(data.dataset, config, 0, 2, torch.device("cpu")))
    assert str(raised.value).startswith("2 of 6 pictures cannot be decoded")
    assert "\n" not in str(raised.value)
    assert multiprocessing.active_children() == []  # they would keep the process from ending


def test_workers_end_with_their_steps(face_folder, make_config, monkeypatch):
    config = make_config()
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"workers": 1, "folder": face_folder})}
    )
    data = opened(face_folder, augmentation="strong", validate=False)
    monkeypatch.setattr(data.dataset, "augment", lambda face, _: face)  # OpenCV's threads and forks
    steps = load_steps(data.dataset, config, 0, 2, torch.device("cpu"))
    next(steps)
    assert len(multiprocessing.active_children()) == 1
    steps.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("half", ["", "hq/"])
def test_a_holdout_of_everything(face_folder, pair_folder, half):
    folder = pair_folder if half else face_folder
    holdout = folder / "holdout.txt"
    holdout.write_text("\n".join(f"{half}{i}.png" for i in range(6)))
    with pytest.raises(ValueError, match="no faces remain to train on"):
        opened(folder, holdout=holdout)


def test_evaluation_pairs_are_fixed(faces):
    pairs = evaluation_pairs(faces)
    assert pairs.shape == (6, 2, 64, 64, 3)
    assert np.array_equal(pairs[:, 1], faces)
    # a face's seed is its place in the folder, so that leaving out the last changes nothing
    assert np.array_equal(evaluation_pairs(faces[:4]), pairs[:4])
    expected = RECIPES["gpen"].apply(to_float(faces[2]), np.random.default_rng(2))
    assert np.array_equal(pairs[2, 0], to_8_bit(expected))
