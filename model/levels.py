"""8-bit levels of pictures that networks compute with."""

from __future__ import annotations

from torch import Tensor


def to_levels(x: Tensor) -> Tensor:
    """[-1, 1] -> 8-bit levels, 0 to 255, as float32; rounded.  Any shape."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255)
