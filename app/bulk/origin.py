"""Records which photo a result was made from, in an extended attribute of the result's file.

File systems without extended attributes (``user.*`` on Linux) record nothing.
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
    """Identifies a photo and its version, and says who may read it."""

    label: bytes
    """Its name, size and modification time, which differ for another photo or version."""
    mode: int
    """The Unix mode of a result: readable by those who may read the photo, and by its owner."""

    @classmethod
    def of(cls, photo: Path) -> Origin:
        """Raises OSError."""
        found = photo.stat()
        mode = found.st_mode & 0o666 | 0o600 if stat.S_ISREG(found.st_mode) else 0o666
        label = b"%d %d %s" % (found.st_size, found.st_mtime_ns, os.fsencode(photo.name))
        return cls(label, mode)

    def keep_in(self, file: int) -> None:
        """Attach the label to an open file, given by its descriptor."""
        if _CAN_KEEP:
            with suppress(OSError):  # the file system has no attributes, or the label is too long
                os.setxattr(file, _ATTRIBUTE, self.label)


def label_of(result: Path) -> bytes | None:
    """The label of the photo that a result was made from; None if it is unknown."""
    if not _CAN_KEEP:
        return None
    try:
        return os.getxattr(result, _ATTRIBUTE)
    except OSError:
        return None
