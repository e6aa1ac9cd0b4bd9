"""Settings of the training data: its folders, and how pairs are made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat

from model.data.augmentation import AugmentationName
from model.data.degradation import PUBLISHED, Ranges, RecipeName
from model.section import Section


class DataConfig(Section):
    folder: Path | None = None
    """Aligned square faces, searched recursively; ``--data`` overrides it."""
    folders: dict[Path, PositiveFloat] = {}  # noqa: RUF012
    """Folders below ``folder`` (or elsewhere, by absolute path) to train on, each with a weight:
    how often its faces are seen, relative to the faces of the others.  Empty: all of ``folder``."""
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Real picture on each side of the crop, as a share of the crop's width."""
    augmentation: AugmentationName = "flip"
    """``flip``: mirrored half of the time, and grey with probability 0.2, as published;
    ``strong``: other poses and colours as well."""
    holdout: Path | None = None
    """Faces not to train on but to validate on: one path a line, relative to the list's folder."""
    holdout_count: NonNegativeInt = 64
    """How many faces are chosen if there is no list; at most a tenth of all.  With 0, validation
    uses faces that are trained on."""
    max_unusable: Annotated[float, Field(ge=0, le=1)] = 0.05
    """The share of pictures, or pairs, that may be unusable.  They are named and left out; if there
    are more, training does not start, or ends."""
    recipes: Annotated[dict[RecipeName, PositiveFloat], Field(min_length=1)] = {"gpen": 1.0}  # noqa: RUF012
    """Degradation recipes, and how often each is used relative to the others."""
    ranges: Ranges = PUBLISHED
    """Ranges of the recipes in training; validation and evaluation use the published ones."""
    workers: NonNegativeInt = 2
    """Processes that make pairs, for each training process; with 0, it makes them itself."""
