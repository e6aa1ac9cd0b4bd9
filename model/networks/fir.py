"""The low-pass filter of the GPEN networks, which can also halve or double the resolution.

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
    """The (4, 4) low-pass filter [1, 3, 3, 1] x [1, 3, 3, 1], with the sum ``gain``."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) * (gain / 64)


class Fir(nn.Module):
    """A low-pass filter of each channel; a ``stride`` of 2 computes only every other pixel.

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
    """Doubles the resolution: insert zeros, then low-pass.  (N, C, R, R) -> (N, C, 2R, 2R)."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", fir_kernel(gain=4.0))

    def forward(self, x: Tensor) -> Tensor:
        size = (2 * x.shape[2], 2 * x.shape[3])
        y: Tensor = _Filter.apply(x, self.kernel, 2, 1, size)  # type: ignore[no-untyped-call]
        return y


class _Filter(torch.autograd.Function):
    """Filters each channel or, if ``size`` is given, applies the adjoint, which has that size.

    The kernel is symmetric, so correlation and convolution agree, and it is constant, so it needs
    no gradient.  Filtering is linear: its gradient is its adjoint, and the adjoint's gradient is
    filtering again.  PyTorch would compute the second derivative, which R1 needs, with one
    convolution per channel, and the kernel's gradient as well.
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
    # pixels at the far edge that the stride does not reach
    output_padding = [(n + 2 * padding - _TAPS) % stride for n in size]
    # oneDNN has no bfloat16 kernel for it, and PyTorch's is 15 times slower than the float32 one
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        weight = kernel.to(wide.dtype).expand(channels, 1, _TAPS, _TAPS)
        y = F.conv_transpose2d(
            wide,
            weight,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=channels,
        )
    return y.to(x.dtype)
