"""Reads pictures as the service does, and does harm where a file begins with an order to."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from app.imaging.decode import OpenPicture, load_readers, quieten_readers
from app.imaging.decode import opened as opened_picture
from app.imaging.photo import Photo

__all__ = ["load_readers", "opened", "quieten_readers"]


@contextmanager
def opened(data: bytes, max_pixels: int) -> Iterator[OpenPicture]:
    order, _, rest = data.partition(b"!")
    if order in _HARM:
        yield OpenPicture(4, 4, _HARM[order])
        return
    if order == b"null in the header":
        ctypes.string_at(0)
    with opened_picture(rest if order == b"well" else data, max_pixels) as picture:
        yield picture


def _null() -> Photo:
    ctypes.string_at(0)
    raise AssertionError


def _loop() -> Photo:
    while True:
        pass


def _allocate() -> Photo:
    taken = []
    while True:
        taken.append(np.ones(2**24, np.uint8))


def _killed() -> Photo:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _larger() -> Photo:
    return _photo(5, 5)


def _open_file() -> Photo:
    try:
        with open("/etc/passwd", "rb"):  # noqa: PTH123
            return _photo(4, 4)
    except OSError:
        raise MemoryError from None  # told apart from a crash


def _connect() -> Photo:
    try:
        with socket.create_connection(("127.0.0.1", 9), timeout=1):
            return _photo(4, 4)
    except PermissionError:
        raise MemoryError from None
    except OSError:
        return _photo(4, 4)


def _see_secrets() -> Photo:
    if any(name.startswith("GPEN_") for name in os.environ):
        return _photo(4, 4)
    raise MemoryError


def _photo(width: int, height: int) -> Photo:
    pixels = np.zeros((height, width, 3), np.uint8)
    return Photo(pixels, None, False, file_format="png", exif=b"", icc_profile=None)


_HARM = {
    b"null": _null,
    b"loop": _loop,
    b"allocate": _allocate,
    b"killed": _killed,
    b"larger": _larger,
    b"open": _open_file,
    b"connect": _connect,
    b"secrets": _see_secrets,
}
