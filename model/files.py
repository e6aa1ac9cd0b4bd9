"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` if the context ends well.

    Until then it lies beside ``path``, with ``.tmp`` behind its name.  If the context raises, it is
    removed, and ``path`` stays as it was.  Raises OSError.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or after a power failure the name may outlive the content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
