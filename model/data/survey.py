"""Looking at every picture of a data set before the first step of a training.

Only the headers are read, so that a hundred thousand pictures take seconds to minutes.  What is
broken further inside shows when it is decoded (``model.data.pictures.PictureFiles``).
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from model.data.crops import crop_width

log = logging.getLogger(__name__)

Group = tuple[Path, ...]
"""Pictures that are used together: a face, or LQ and HQ of a pair."""

_NAMED = 10


@dataclass(frozen=True)
class Survey:
    """Which groups can be used, and what is wrong with the others."""

    usable: list[Group]
    unusable: list[str]
    """A reason for each group that cannot be used."""
    small: list[Path]
    """Targets whose crop is smaller than the network's pictures, and is enlarged."""


@dataclass(frozen=True)
class _Seen:
    group: Group
    fault: str | None
    small: bool


def survey(groups: Sequence[Group], size: int, margin: float = 0.0) -> Survey:
    """Read the header of every picture; the last of a group is the target.

    ``size`` is the network's, and ``margin`` as in ``model.data.crops``.
    """
    look = partial(_look, size=size, margin=margin)
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
        seen = list(pool.map(look, groups))
    return Survey(
        [one.group for one in seen if one.fault is None],
        [one.fault for one in seen if one.fault is not None],
        [one.group[-1] for one in seen if one.fault is None and one.small],
    )


def _look(group: Group, size: int, margin: float) -> _Seen:
    width = 0
    for path in group:
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return _Seen(group, f"{path} cannot be read as a picture", small=False)
        if width != height:
            return _Seen(group, f"{path} is not square: {width}x{height}", small=False)
    return _Seen(group, None, small=round(crop_width(width, margin)) < size)


class Usable(NamedTuple):
    groups: list[Group]
    spare: int
    """How many of them may still turn out to be unusable."""


def usable_groups(
    groups: Sequence[Group],
    size: int,
    margin: float = 0.0,
    *,
    unmatched: Sequence[str] = (),
    limit: float,
) -> Usable:
    """The groups that can be used; the others, and small targets, are counted and named in the log.

    ``unmatched`` are reasons for pictures that are in no group at all.  Raises ValueError where
    more than the share ``limit`` of all cannot be used, or none can.
    """
    found = survey(groups, size, margin)
    reasons = [*unmatched, *found.unusable]
    total = len(groups) + len(unmatched)
    spare = int(limit * total) - len(reasons)
    if spare < 0:
        raise ValueError(
            f"{len(reasons)} of {total} pictures or pairs cannot be used, and data.max_unusable "
            f"allows a share of {limit:.3g}: {'; '.join(_some(reasons))}"
        )
    if not found.usable:
        raise ValueError(f"none of {total} pictures can be used: {'; '.join(_some(reasons))}")
    if reasons:
        log.warning(
            "%d of %d pictures or pairs cannot be used and are left out:\n%s",
            *(len(reasons), total, "\n".join(_some(reasons))),
        )
    if found.small:
        log.warning(
            "%d of %d targets are smaller than %d px and are enlarged, so that the network learns "
            "their blur:\n%s",
            *(len(found.small), len(found.usable), size, "\n".join(_some(found.small))),
        )
    return Usable(found.usable, spare)


def _some(things: Sequence[object]) -> list[str]:
    more = [f"and {len(things) - _NAMED} more"] if len(things) > _NAMED else []
    return [*map(str, things[:_NAMED]), *more]
