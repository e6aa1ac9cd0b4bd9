"""What a result was made from: kept with the result itself, as an attribute of its file.

File systems that keep no attributes (``user.*`` of Linux) keep nothing of this.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_ATTRIBUTE = "user.gpen.source"
_CAN_KEEP = hasattr(os, "setxattr")


@dataclass(frozen=True)
class Origin:
    """A photo, as it was when it was read."""

    label: bytes
    """Its name, size and time of change: another photo, or another version of it, differs."""
    mode: int
    """Who may read a result, as Unix has it: those who may read the photo, and its owner."""

    @classmethod
    def of(cls, photo: Path) -> Origin:
        """Raises OSError."""
        found = photo.stat()
        mode = found.st_mode & 0o666 | 0o600 if stat.S_ISREG(found.st_mode) else 0o666
        label = b"%d %d %s" % (found.st_size, found.st_mtime_ns, os.fsencode(photo.name))
        return cls(label, mode)

    def keep_in(self, file: int) -> None:
        """Attach the label to an open file, by its descriptor."""
        if _CAN_KEEP:
            with suppress(OSError):  # the file system keeps none, or none so long
                os.setxattr(file, _ATTRIBUTE, self.label)


def label_of(result: Path) -> bytes | None:
    """The label of what a result was made from; None where that is not known."""
    if not _CAN_KEEP:
        return None
    try:
        return os.getxattr(result, _ATTRIBUTE)
    except OSError:
        return None
