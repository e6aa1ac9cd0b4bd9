"""PNG chunks, and PNGs of 16 bits a channel, which Pillow does not write in colour."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33  # bytes of a PNG before its second chunk
_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels: grey, with alpha, RGB, with alpha
_LEVEL = 3  # zlib's
_ROWS = 128  # at a time
_SUB, _UP = 1, 2


def chunk(kind: bytes, payload: bytes) -> bytes:
    body = kind + payload
    return struct.pack(">I", len(payload)) + body + struct.pack(">I", zlib.crc32(body))


def with_chunks(png: bytes, chunks: list[bytes]) -> bytes:
    """Chunks are put before all but the header: a profile must come before the pixels."""
    return b"".join([png[:_HEADER_END], *chunks, png[_HEADER_END:]]) if chunks else png


def deep_png(levels: NDArray[np.uint16]) -> bytes:
    """(H, W, C) as grey, grey with alpha, RGB or RGBA: C is 1 to 4."""
    height, width, channels = levels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOURS[channels], 0, 0, 0)
    packer = zlib.compressobj(_LEVEL)
    packed = [packer.compress(rows) for rows in _filtered(levels)]
    pixels = b"".join([*packed, packer.flush()])
    return b"".join([_MAGIC, chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


def _filtered(levels: NDArray[np.uint16]) -> Iterator[bytes]:
    """Rows as differences to the left or to above, whichever are smaller."""
    height, width, channels = levels.shape
    above = np.zeros((1, width * channels * 2), np.uint8)
    for start, end in pairwise([*range(0, height, _ROWS), height]):
        rows = levels[start:end].astype(">u2").reshape(end - start, -1).view(np.uint8)
        up = rows - np.concatenate([above, rows[:-1]])
        left = rows.copy()
        left[:, 2 * channels :] -= rows[:, : -2 * channels]
        sizes = [np.abs(change.view(np.int8)).sum(1, dtype=np.int64) for change in (up, left)]
        by_left = sizes[1] < sizes[0]
        kinds = np.where(by_left, _SUB, _UP).astype(np.uint8)
        yield np.column_stack([kinds, np.where(by_left[:, None], left, up)]).tobytes()
        above = rows[-1:]
