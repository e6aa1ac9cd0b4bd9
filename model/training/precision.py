"""The precision that networks compute in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(x: Tensor, precision: Precision) -> torch.autocast:
    """In this context, networks compute in this precision on the device of ``x``."""
    dtype = _DTYPES[precision]
    return torch.autocast(x.device.type, dtype, enabled=dtype is not torch.float32)
