"""The low-pass filter of the GPEN networks, also while halving or doubling the resolution.

It is ``upfirdn2d`` of StyleGAN2 (Karras et al., CVPR 2020) for the one kernel that GPEN uses.
Shapes: N batch, C channels, R resolution (height = width).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TAPS = 4


def fir_kernel(gain: float = 1.0) -> Tensor:
    """The 4x4 low-pass filter [1, 3, 3, 1] x [1, 3, 3, 1], summing to ``gain``."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) * (gain / 64)


class Fir(nn.Module):
    """Low-pass filter, one channel at a time; ``stride`` 2 computes every other pixel only.

    (N, C, R, R) -> (N, C, R', R'), R' = (R + 2 * padding - 4) // stride + 1.
    """

    kernel: Tensor

    def __init__(self, padding: int, gain: float = 1.0, stride: int = 1) -> None:
        super().__init__()
        self.register_buffer("kernel", fir_kernel(gain))
        self.padding = padding
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Filter.apply(x, self.kernel, self.stride, self.padding, None)  # type: ignore[no-untyped-call]
        return y


class FirUpsample(nn.Module):
    """Twice the resolution: insert zeros, then low-pass.  (N, C, R, R) -> (N, C, 2R, 2R)."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", fir_kernel(gain=4.0))

    def forward(self, x: Tensor) -> Tensor:
        size = (2 * x.shape[2], 2 * x.shape[3])
        y: Tensor = _Filter.apply(x, self.kernel, 2, 1, size)  # type: ignore[no-untyped-call]
        return y


class _Filter(torch.autograd.Function):
    """Filter one channel at a time or, given ``size``, the adjoint: from there back to ``size``.

    The kernel is symmetric, so correlation and convolution agree, and no gradient reaches it.
    Filtering is linear: its gradient is its adjoint, whose gradient is filtering again.  Left to
    PyTorch, the second derivative, which R1 takes, is one convolution per channel and the kernel's
    gradient besides.
    """

    @staticmethod
    def forward(
        x: Tensor, kernel: Tensor, stride: int, padding: int, size: tuple[int, int] | None
    ) -> Tensor:
        if size is None:
            return _correlate(x, kernel, stride, padding)
        if stride == 1:
            return _correlate(x, kernel, 1, _TAPS - 1 - padding)
        return _insert_zeros_and_correlate(x, kernel, stride, padding, size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
        x, kernel, ctx.stride, ctx.padding, size = inputs
        ctx.save_for_backward(kernel)
        ctx.size = tuple(x.shape[2:]) if size is None else None

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (kernel,) = ctx.saved_tensors
        y = _Filter.apply(gradient, kernel, ctx.stride, ctx.padding, ctx.size)  # type: ignore[no-untyped-call]
        return y, None, None, None, None


def _correlate(x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, _TAPS, _TAPS)
    return F.conv2d(x, weight, stride=stride, padding=padding, groups=channels)


def _insert_zeros_and_correlate(
    x: Tensor, kernel: Tensor, stride: int, padding: int, size: tuple[int, int]
) -> Tensor:
    channels = x.shape[1]
    # what a stride leaves over at the far edge
    rest = [(n + 2 * padding - _TAPS) % stride for n in size]
    # oneDNN has no such kernel in bfloat16: PyTorch's own is 15 times slower than float32's
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        weight = kernel.to(wide.dtype).expand(channels, 1, _TAPS, _TAPS)
        y = F.conv_transpose2d(
            wide, weight, stride=stride, padding=padding, output_padding=rest, groups=channels
        )
    return y.to(x.dtype)
