"""Say which system libraries OpenCV needs and this machine lacks, one line each."""

import ctypes
import sys

LIBRARIES = {"libGL.so.1": "libgl1", "libglib-2.0.so.0": "libglib2.0-0"}


def missing() -> list[str]:
    """Lines to print; empty where all is there (or the system is not Linux)."""
    if not sys.platform.startswith("linux"):
        return []
    lines = []
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            lines.append(f"missing: {library} (Debian, Ubuntu: apt-get install {package})")
    return lines


if __name__ == "__main__":
    found = missing()
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))
