"""Training pairs: faces degraded on the fly, or folders of pairs.

Pairs are 8-bit RGB, LQ and HQ: (2, R, R, 3); ``to_halves`` converts them for the networks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from model.data.augmentation import Augmentation, augmentation, flip
from model.data.config import DataConfig
from model.data.crops import Picture
from model.data.degradation import PUBLISHED, RECIPES, Ranges, RecipeName
from model.data.degradation.operations import to_8_bit, to_float
from model.data.holdout import Split, split_faces
from model.data.pictures import (
    FaceFiles,
    PictureFiles,
    find_pairs,
    find_weighted,
    holds_pairs,
    read_faces,
    read_groups,
)
from model.data.sampling import SampleKey
from model.data.survey import Group, usable_groups

log = logging.getLogger(__name__)

MEMORY_LIMIT = 2 * 2**30
"""Up to this many bytes, all faces are read once and kept in memory."""
_VALIDATED_WITHOUT_HOLDOUT = 64

Pairs = NDArray[np.uint8]
"""(N, 2, R, R, 3): LQ and HQ."""


class Faces(Protocol):
    """N pictures of faces, each (R, R, 3) RGB: an array (N, R, R, 3), or files."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Picture: ...


def to_tensors(levels: Tensor | NDArray[np.uint8]) -> Tensor:
    """8-bit (N, R, R, 3) -> (N, 3, R, R) in [-1, 1], in channels-last memory."""
    x = torch.as_tensor(levels).permute(0, 3, 1, 2)
    return x.to(torch.float32, memory_format=torch.channels_last).div_(255).mul_(2).sub_(1)


def to_halves(pairs: Tensor | Pairs) -> tuple[Tensor, Tensor]:
    """8-bit pairs (N, 2, R, R, 3) -> LQ and HQ, each converted by ``to_tensors``."""
    return to_tensors(pairs[:, 0]), to_tensors(pairs[:, 1])


class DegradedFaces(Dataset[NDArray[np.uint8]]):
    """Training pairs (2, R, R, 3) of faces.

    Indexed by ``SampleKey``: a pair is a function of the seed and the key alone.  ``recipes`` says
    how often each recipe is used relative to the others, and ``weights`` how often each face is.
    """

    def __init__(
        self,
        faces: Faces,
        recipes: dict[RecipeName, float],
        seed: int,
        augment: Augmentation = flip,
        ranges: Ranges = PUBLISHED,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.faces = faces
        self.recipes = [ranges.recipe(name) for name in recipes]
        shares = np.array(list(recipes.values()))
        self.probabilities = shares / shares.sum()
        self.seed = seed
        self.augment = augment
        self.weights = weights

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: SampleKey) -> NDArray[np.uint8]:
        rng = np.random.default_rng([self.seed, *key])
        high = self.augment(self.faces[key.face], rng)
        recipe = self.recipes[int(rng.choice(len(self.recipes), p=self.probabilities))]
        return np.stack([to_8_bit(recipe.apply(to_float(high), rng)), high])


class PairedFaces(Dataset[NDArray[np.uint8]]):
    """Training pairs (2, R, R, 3) of pairs in files.

    Indexed like ``DegradedFaces``.  With ``mirror``, half of the pairs are mirrored; any other
    change would affect how the low-quality half was degraded.
    """

    weights = None

    def __init__(self, pairs: PictureFiles, seed: int, *, mirror: bool = True) -> None:
        self.pairs = pairs
        self.seed = seed
        self.mirror = mirror

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: SampleKey) -> NDArray[np.uint8]:
        rng = np.random.default_rng([self.seed, *key])
        pair = self.pairs[key.face]
        if self.mirror and rng.random() < 0.5:
            pair = np.ascontiguousarray(pair[:, :, ::-1])
        return pair


class TrainingData(NamedTuple):
    dataset: DegradedFaces | PairedFaces
    validated: Pairs
    """Pairs to validate on; empty if they were not requested."""
    split: Split


def open_training_data(
    data: DataConfig, size: int, seed: int, *, validate: bool = True
) -> TrainingData:
    """Open folders of faces, or a folder of pairs, which has ``lq/`` and ``hq/``.

    For pairs, ``recipes`` and ``ranges`` are not used.  Validation uses the faces that
    ``model.data.holdout`` holds out (for pairs, it chooses files of ``hq/``), or a part of the
    training set if there are none.  ``model.data.survey`` examines all pictures to train on.
    Raises OSError or ValueError.
    """
    if data.folder is None:
        raise ValueError("no data: use --data or set data.folder")
    if holds_pairs(data.folder):
        return _open_pairs(data, data.folder, size, seed, validate=validate)
    weights = find_weighted(data.folder, data.folders)
    split = split_faces(list(weights), data.folder, data)
    held_out = split.held_out
    groups, spare = usable_groups(
        [(path,) for path in split.trained_on], size, data.margin, limit=data.max_unusable
    )
    paths = [path for (path,) in groups]
    whole = data.augmentation == "strong"
    faces: Faces
    # unreadable pictures are left out in memory, so faces would not match their weights
    if whole or data.folders or len(paths) * size * size * 3 > MEMORY_LIMIT:
        faces = FaceFiles(paths, None if whole else size, data.margin, spare=spare)
    else:
        faces = read_faces(paths, size, data.margin, spare=spare)
    dataset = DegradedFaces(
        faces,
        data.recipes,
        seed,
        augmentation(data.augmentation, size, data.margin),
        data.ranges,
        [weights[path] for path in paths] if data.folders else None,
    )
    if not validate:
        return TrainingData(dataset, _no_pairs(size), split)
    if data.recipes.keys() != {"gpen"} or data.ranges.gpen != PUBLISHED.gpen:
        log.info(
            "validation uses the published gpen recipe, so that runs can be compared, and not "
            "those of training (data.recipes, data.ranges)"
        )
    shown = read_faces(held_out or paths[:_VALIDATED_WITHOUT_HOLDOUT], size, data.margin)
    return TrainingData(dataset, evaluation_pairs(shown), split)


def _open_pairs(
    data: DataConfig, folder: Path, size: int, seed: int, *, validate: bool
) -> TrainingData:
    if data.folders:
        raise ValueError(f"data.folders is for folders of faces, but {folder} contains pairs")
    pairs, unmatched = find_pairs(folder)
    split = split_faces([high for _, high in pairs], folder, data)
    held_out = set(split.held_out)
    groups, spare = usable_groups(
        [pair for pair in pairs if pair[1] not in held_out],
        *(size, data.margin),
        unmatched=unmatched,
        limit=data.max_unusable,
    )
    files = PictureFiles(groups, size, data.margin, spare=spare)
    dataset = PairedFaces(files, seed, mirror=data.augmentation != "none")
    if not validate:
        return TrainingData(dataset, _no_pairs(size), split)
    shown: list[Group] = [pair for pair in pairs if pair[1] in held_out]
    shown = shown or groups[:_VALIDATED_WITHOUT_HOLDOUT]
    return TrainingData(dataset, read_groups(shown, size, data.margin), split)


def _no_pairs(size: int) -> Pairs:
    return np.empty((0, 2, size, size, 3), dtype=np.uint8)


def evaluation_pair(face: Picture, index: int, recipe: RecipeName = "gpen") -> NDArray[np.uint8]:
    """The fixed pair (2, R, R, 3) of a face (R, R, 3); ``index`` is the seed of its degradation."""
    low = RECIPES[recipe].apply(to_float(face), np.random.default_rng(index))
    return np.stack([to_8_bit(low), face])


def evaluation_pairs(faces: NDArray[np.uint8], recipe: RecipeName = "gpen") -> Pairs:
    """The fixed pairs for reporting results."""
    return np.stack([evaluation_pair(face, i, recipe) for i, face in enumerate(faces)])
