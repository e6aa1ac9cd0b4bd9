"""A pickle that shows that it was loaded."""

from __future__ import annotations

import os
import pickle
from pathlib import Path


class _Touches:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def plant(path: Path, mark: Path) -> None:
    """Write a pickle to ``path`` that makes ``mark`` when it is loaded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(_Touches(mark)))
