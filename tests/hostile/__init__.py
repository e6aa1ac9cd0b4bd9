"""A corpus of hostile and odd files: what people, cameras and attackers send instead of a photo.

All are made by code, the same every time.  One module makes those of one format.
"""

from __future__ import annotations

from functools import lru_cache

from tests.hostile import bmp, foreign, heic, jpeg, metadata, png, tiff, webp
from tests.hostile.made import HostileFile

__all__ = ["HostileFile", "corpus"]


@lru_cache(maxsize=1)
def _corpus() -> tuple[HostileFile, ...]:
    makers = (jpeg, png, webp, bmp, tiff, heic, metadata, foreign)
    files = tuple(file for maker in makers for file in maker.files())
    names = [file.name for file in files]
    assert len(set(names)) == len(names), "names say which file it is"
    return files


def corpus() -> list[HostileFile]:
    return list(_corpus())
