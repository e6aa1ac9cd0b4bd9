"""A colour profile (ICC.1:2010, version 4) for colours that a file tells of by code points only."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_UNSPECIFIED = 2
# ISO/IEC 23091-2: x and y of red, green and blue; those of old television look like sRGB's
_PRIMARIES = {
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
_LIKE_SRGB = {1, 5, 6, 7, _UNSPECIFIED}
_SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
# video's own curve is meant for screens like sRGB's, and shown as such; 16 and 18 are PQ and HLG
_LIKE_SRGB_CURVE = {1, 6, 7, 13, 14, 15, 16, 18, _UNSPECIFIED}
_D65 = (0.3127, 0.3290)
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile_of(primaries: int, transfer: int) -> bytes | None:
    """None for sRGB, and for what is taken for it: code points that say nothing, or nothing known.

    High dynamic range (PQ, HLG) is shown by sRGB's curve: somewhat flat, as by readers without it.
    """
    gamma = _GAMMAS.get(transfer)
    if gamma is None and (transfer not in _LIKE_SRGB_CURVE or primaries not in _PRIMARIES):
        return None
    if primaries not in _PRIMARIES and primaries not in _LIKE_SRGB:
        return None
    curve = (gamma,) if gamma is not None else _SRGB_CURVE
    return _profile(_under_d50(_PRIMARIES.get(primaries, _SRGB)), curve)


def _under_d50(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """XYZ of red, green and blue in columns, adapted from D65 (ICC.1, annex E)."""
    columns = np.array([_xyz(*point) for point in primaries]).T
    white = _xyz(*_D65)
    scaled = columns * np.linalg.solve(columns, white)
    ratio = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ (
        ratio[:, None] * (_BRADFORD @ scaled)
    )
    return adapted


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _profile(columns: NDArray[np.float64], curve: tuple[float, ...]) -> bytes:
    kind = 3 if len(curve) > 1 else 0
    tone = b"para" + bytes(4) + struct.pack(">HH", kind, 0) + _fixed(*curve)
    tags = {
        b"desc": _text("from nclx"),
        b"cprt": _text("CC0"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50),
    }
    for i, name in enumerate((b"r", b"g", b"b")):
        tags[name + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*columns[:, i])
        tags[name + b"TRC"] = tone
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI", start + len(body), bytes(4), 0x04200000) + b"mntrRGB XYZ "
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*_D50)
    return head.ljust(128, b"\0") + table + body


def _text(text: str) -> bytes:
    letters = text.encode("utf-16-be")
    record = struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(letters), 28)
    return b"mluc" + bytes(4) + record + letters


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
