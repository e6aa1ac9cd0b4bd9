"""Examines every picture of a data set before training starts.

Only headers are read, so a hundred thousand pictures take seconds to minutes.  Pictures that are
broken further inside are found when they are decoded (``model.data.pictures.PictureFiles``).
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
"""Pictures that belong together: one face, or LQ and HQ of a pair."""

_NAMED = 10


@dataclass(frozen=True)
class Survey:
    """The usable groups, and what is wrong with the others."""

    usable: list[Group]
    unusable: list[str]
    """A reason for each unusable group."""
    small: list[Path]
    """Targets whose crop is smaller than the network's size and is enlarged."""


@dataclass(frozen=True)
class _Examined:
    group: Group
    fault: str | None
    small: bool


def survey(groups: Sequence[Group], size: int, margin: float = 0.0) -> Survey:
    """Read the header of every picture; the last of a group is the target.

    ``size`` is the network's, and ``margin`` as in ``model.data.crops``.
    """
    examine = partial(_examine, size=size, margin=margin)
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
        examined = list(pool.map(examine, groups))
    return Survey(
        [each.group for each in examined if each.fault is None],
        [each.fault for each in examined if each.fault is not None],
        [each.group[-1] for each in examined if each.fault is None and each.small],
    )


def _examine(group: Group, size: int, margin: float) -> _Examined:
    width = 0
    for path in group:
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return _Examined(group, f"{path} cannot be read as a picture", small=False)
        if width != height:
            return _Examined(group, f"{path} is not square: {width}x{height}", small=False)
    return _Examined(group, None, small=round(crop_width(width, margin)) < size)


class Usable(NamedTuple):
    groups: list[Group]
    spare: int
    """How many of them may still prove unusable."""


def usable_groups(
    groups: Sequence[Group],
    size: int,
    margin: float = 0.0,
    *,
    unmatched: Sequence[str] = (),
    limit: float,
) -> Usable:
    """The usable groups.  The log counts and names the others, and small targets.

    ``unmatched`` are reasons for pictures that belong to no group.  Raises ValueError if more than
    the share ``limit`` of all is unusable, or everything is.
    """
    found = survey(groups, size, margin)
    reasons = [*unmatched, *found.unusable]
    total = len(groups) + len(unmatched)
    spare = int(limit * total) - len(reasons)
    if spare < 0:
        raise ValueError(
            f"{len(reasons)} of {total} pictures or pairs cannot be used, but data.max_unusable "
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
            "%d of %d targets are smaller than %d px and are enlarged, so the network learns to "
            "reproduce their blur:\n%s",
            *(len(found.small), len(found.usable), size, "\n".join(_some(found.small))),
        )
    return Usable(found.usable, spare)


def _some(things: Sequence[object]) -> list[str]:
    more = [f"and {len(things) - _NAMED} more"] if len(things) > _NAMED else []
    return [*map(str, things[:_NAMED]), *more]
