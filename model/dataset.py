"""Pairs of low- and high-quality faces, made on the fly from a folder of aligned ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from model.augmentation import augment
from model.degradation import RECIPES, FloatImage, RecipeName, degrade

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def find_faces(folder: Path) -> list[Path]:
    """Pictures under a folder, sorted by path.  Raises FileNotFoundError if there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no pictures in {folder}")
    return paths


def split_holdout(folder: Path, holdout: Path | None) -> tuple[list[Path], list[Path]]:
    """Faces to train on and faces never to train on.

    ``holdout`` lists the latter, one path a line, relative to the list's own folder.  Raises
    FileNotFoundError for a listed picture that is not in ``folder``.
    """
    faces = find_faces(folder)
    if holdout is None:
        return faces, []
    lines = [line.strip() for line in holdout.read_text().splitlines()]
    listed = {(holdout.parent / line).resolve() for line in lines if line}
    held_out = [path for path in faces if path.resolve() in listed]
    if len(held_out) != len(listed):
        missing = sorted(listed - {path.resolve() for path in held_out})
        raise FileNotFoundError(f"{holdout} lists {missing[0]}, which is not in {folder}")
    return [path for path in faces if path.resolve() not in listed], held_out


def read_face(path: Path, size: int) -> NDArray[np.uint8]:
    """Read a square face and resize it (area): (size, size, 3) RGB.  Raises ValueError."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError(f"{path} cannot be read as a picture")
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"{path} is not square: {image.shape[1]}x{image.shape[0]}")
    if image.shape[0] != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(image, dtype=np.uint8)


def read_faces(paths: list[Path], size: int) -> NDArray[np.uint8]:
    """Read square faces: (N, size, size, 3) RGB.

    Pictures that cannot be used are logged and left out; ValueError is raised if none is left.
    """
    faces = []
    for path in paths:
        try:
            faces.append(read_face(path, size))
        except ValueError as error:
            log.warning("skipped: %s", error)
    if not faces:
        raise ValueError(f"none of {len(paths)} pictures can be used")
    return np.stack(faces)


def to_float(levels: NDArray[np.uint8]) -> FloatImage:
    """8-bit levels -> [0, 1]; any shape."""
    return np.divide(levels, np.float32(255), dtype=np.float32)


def to_tensor(image: FloatImage) -> Tensor:
    """(R, R, 3) in [0, 1] -> (3, R, R) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) * 2 - 1


class DegradedFaces(Dataset[tuple[Tensor, Tensor]]):
    """Training pairs (LQ, HQ), each (3, R, R) in [-1, 1], of faces (N, R, R, 3).

    Indexed by (epoch, i): the pair is a function of seed, epoch and i alone.  ``recipes`` says how
    often each is used, relative to the others.
    """

    def __init__(
        self, faces: NDArray[np.uint8], recipes: dict[RecipeName, float], seed: int
    ) -> None:
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
        high = augment(to_float(self.faces[index]), to_float(self.faces[other]), rng)
        recipe = self.recipes[int(rng.choice(len(self.recipes), p=self.probabilities))]
        low = degrade(high, recipe, rng)
        return to_tensor(low), to_tensor(high)


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, i), shuffled per epoch, for the steps from ``start`` to ``stop``.

    Steps are counted over all epochs, and a step's batch depends on nothing before it: training
    resumes exactly, in the middle of an epoch too.
    """

    def __init__(self, length: int, batch_size: int, seed: int, start: int, stop: int) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.start, self.stop = start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = batches_per_epoch(self.length, self.batch_size)
        for step in range(self.start, self.stop):
            epoch, batch = divmod(step, per_epoch)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(epoch, int(i)) for i in chosen]


def batches_per_epoch(length: int, batch_size: int) -> int:
    """Steps in an epoch; its last, smaller batch is dropped, unless it is the only one."""
    return max(1, length // batch_size)


def evaluation_pairs(
    faces: NDArray[np.uint8], recipe: RecipeName = "gpen"
) -> tuple[Tensor, Tensor]:
    """The fixed pairs that results are reported on: LQ and HQ, each (N, 3, R, R) in [-1, 1].

    Face i is degraded with seed i; both halves are 8-bit RGB.
    """
    high = to_float(faces)
    low = [degrade(face, RECIPES[recipe], np.random.default_rng(i)) for i, face in enumerate(high)]
    return (
        torch.stack([to_tensor(image) for image in low]),
        torch.stack([to_tensor(image) for image in high]),
    )
