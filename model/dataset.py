"""Training pairs: faces degraded on the fly, or folders of pairs; and in which order they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from model.augmentation import augment
from model.degradation import RECIPES, FloatImage, RecipeName, degrade
from model.pictures import (
    HIGH,
    FaceFiles,
    PictureFiles,
    find_faces,
    find_pairs,
    holds_pairs,
    read_face,
    read_faces,
    read_groups,
    split_holdout,
)

__all__ = [
    "DegradedFaces",
    "EpochBatches",
    "Faces",
    "PairedFaces",
    "TrainingData",
    "batches_per_epoch",
    "evaluation_pair",
    "evaluation_pairs",
    "find_faces",
    "open_training_data",
    "read_face",
    "read_faces",
    "split_holdout",
    "to_float",
    "to_tensor",
]

MEMORY_LIMIT = 2 * 2**30
"""Bytes of faces up to which they are read once, instead of whenever they come up."""
_VALIDATED_WITHOUT_HOLDOUT = 64


class Faces(Protocol):
    """N faces, each (R, R, 3) RGB: an array (N, R, R, 3), or files."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


def to_float(levels: NDArray[np.uint8]) -> FloatImage:
    """8-bit levels -> [0, 1]; any shape."""
    return np.divide(levels, np.float32(255), dtype=np.float32)


def to_tensor(image: FloatImage) -> Tensor:
    """(R, R, 3) in [0, 1] -> (3, R, R) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) * 2 - 1


class DegradedFaces(Dataset[tuple[Tensor, Tensor]]):
    """Training pairs (LQ, HQ), each (3, R, R) in [-1, 1], of faces.

    Indexed by (epoch, i): the pair is a function of seed, epoch and i alone.  ``recipes`` says how
    often each is used, relative to the others.
    """

    def __init__(self, faces: Faces, recipes: dict[RecipeName, float], seed: int) -> None:
        self.faces = faces
        self.recipes = [RECIPES[name] for name in recipes]
        weights = np.array(list(recipes.values()))
        self.probabilities = weights / weights.sum()
        self.seed = seed

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        other = int(rng.integers(len(self.faces)))
        face = to_float(self.faces[index])
        high = augment(face, lambda: to_float(self.faces[other]), rng)
        recipe = self.recipes[int(rng.choice(len(self.recipes), p=self.probabilities))]
        low = degrade(high, recipe, rng)
        return to_tensor(low), to_tensor(high)


class PairedFaces(Dataset[tuple[Tensor, Tensor]]):
    """Training pairs (LQ, HQ), each (3, R, R) in [-1, 1], of pairs (2, R, R, 3) in files.

    Indexed as ``DegradedFaces``.  Mirrored half of the time; anything else would change how the
    low-quality half was degraded.
    """

    def __init__(self, pairs: PictureFiles, seed: int) -> None:
        self.pairs = pairs
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        pair = to_float(self.pairs[index])
        if rng.random() < 0.5:
            pair = pair[:, :, ::-1]
        low, high = pair
        return to_tensor(low), to_tensor(high)


class TrainingData(NamedTuple):
    dataset: DegradedFaces | PairedFaces
    low: Tensor
    """To validate on: LQ and HQ, each (N, 3, R, R) in [-1, 1]."""
    high: Tensor


def open_training_data(
    folder: Path,
    holdout: Path | None,
    size: int,
    recipes: dict[RecipeName, float],
    seed: int,
) -> TrainingData:
    """A folder of faces, or of pairs where it has ``lq/`` and ``hq/`` (``recipes`` is then unused).

    What ``holdout`` lists (of pairs, the files of ``hq/``) is validated on; without it, some of the
    training set, to see that at least that is learnt.  Raises OSError or ValueError.
    """
    if holds_pairs(folder):
        pairs = find_pairs(folder)
        held_out = set(split_holdout(folder / HIGH, holdout)[1])
        trained_on = [pair for pair in pairs if pair[1] not in held_out]
        validated = [pair for pair in pairs if pair[1] in held_out]
        _check_rest(trained_on, folder, holdout)
        levels = read_groups(validated or trained_on[:_VALIDATED_WITHOUT_HOLDOUT], size)
        halves = to_float(levels)
        low, high = (torch.stack([to_tensor(face) for face in halves[:, k]]) for k in (0, 1))
        return TrainingData(PairedFaces(PictureFiles(trained_on, size), seed), low, high)
    paths, held_out_paths = split_holdout(folder, holdout)
    _check_rest(paths, folder, holdout)
    in_memory = len(paths) * size * size * 3 <= MEMORY_LIMIT
    faces: Faces = read_faces(paths, size) if in_memory else FaceFiles(paths, size)
    validated_faces = read_faces(held_out_paths or paths[:_VALIDATED_WITHOUT_HOLDOUT], size)
    return TrainingData(DegradedFaces(faces, recipes, seed), *evaluation_pairs(validated_faces))


def _check_rest(trained_on: Sized, folder: Path, holdout: Path | None) -> None:
    if len(trained_on) == 0:
        raise ValueError(f"nothing to train on: {holdout} lists all of {folder}")


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, i), shuffled per epoch, for the steps from ``start`` to ``stop``.

    Steps are counted over all epochs, and a step's batch depends on nothing before it: a run's
    position in its data is its step, and training resumes exactly, in the middle of an epoch too.
    A batch is cut into ``parts`` of equal size, of which ``taken`` come, one after the other:
    processes share a step's batch by taking different ones.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        parts: int = 1,
        taken: Sequence[int] = (0,),
    ) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.start, self.stop = start, stop
        self.parts, self.taken = parts, taken

    def __len__(self) -> int:
        return (self.stop - self.start) * len(self.taken)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = batches_per_epoch(self.length, self.batch_size)
        for step in range(self.start, self.stop):
            epoch, batch = divmod(step, per_epoch)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            size = len(chosen) // self.parts
            for part in self.taken:
                yield [(epoch, int(i)) for i in chosen[part * size : (part + 1) * size]]


def batches_per_epoch(length: int, batch_size: int) -> int:
    """Steps in an epoch; its last, smaller batch is dropped, unless it is the only one."""
    return max(1, length // batch_size)


def evaluation_pair(
    face: NDArray[np.uint8], index: int, recipe: RecipeName = "gpen"
) -> tuple[Tensor, Tensor]:
    """The fixed pair of a face (R, R, 3): LQ and HQ, each (3, R, R) in [-1, 1].

    Its index is the seed it is degraded with; both halves are 8-bit RGB.
    """
    high = to_float(face)
    low = degrade(high, RECIPES[recipe], np.random.default_rng(index))
    return to_tensor(low), to_tensor(high)


def evaluation_pairs(
    faces: NDArray[np.uint8], recipe: RecipeName = "gpen"
) -> tuple[Tensor, Tensor]:
    """The fixed pairs that results are reported on: LQ and HQ, each (N, 3, R, R) in [-1, 1]."""
    pairs = [evaluation_pair(face, i, recipe) for i, face in enumerate(faces)]
    low, high = zip(*pairs, strict=True)
    return torch.stack(low), torch.stack(high)
