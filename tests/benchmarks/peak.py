"""What the hardware could do: its matrix product, and what the network asks of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from app.engine_names import Precision
from app.engines.torch_engine import DTYPES
from model.networks import FullGenerator
from model.networks.folded import FoldedGenerator
from tests.benchmarks.turns import CALM_S, take_turns

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SIDES = (2048, 3072, 4096)


def gflop_a_face(generator: FullGenerator) -> float:
    """Of a forward pass of the network that we run, by its shapes; nothing is computed.

    A multiplication and an addition are two.
    """
    folded = FoldedGenerator(generator).to("meta")
    face = torch.zeros(1, 3, generator.size, generator.size, device="meta")
    with FlopCounterMode(display=False) as counter:
        folded(face)
    return float(counter.get_total_flops()) / 1e9


def matrix_product(
    precisions: Sequence[Precision],
    device: torch.device,
    sides: Sequence[int] = SIDES,
    rounds: int = 3,
    turn_s: float = 0.5,
    calm_s: float = CALM_S,
) -> dict[Precision, float]:
    """GFLOP/s of PyTorch's product of square matrices: the best of some sides, and of two ways.

    As a convolution of 1x1 pixels, too: on some processors the library that PyTorch multiplies
    float32 matrices with is slower than the one that it convolves with.  Neither need be as fast as
    an engine's own, nor is there a limit for one that needs fewer products (Winograd).
    """
    calls = {
        (precision, side, way): partial(_compute, way, *_matrices(precision, side, device))
        for precision in precisions
        for side in sides
        for way in (torch.mm, _as_convolution)
    }
    seconds = take_turns(calls, rounds, turn_s, calm_s)
    return {
        precision: max(
            2e-9 * side**3 / median(times)
            for (of, side, _), times in seconds.items()
            if of == precision
        )
        for precision in precisions
    }


def _matrices(
    precision: Precision, side: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.randn(2, side, side, device=device).to(DTYPES[precision])
    return a, b


def _as_convolution(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The rows of ``a`` are pixels, (1, side, side, 1) with channels last in memory."""
    return F.conv2d(a.t()[None, :, :, None], b[:, :, None, None])


@torch.inference_mode()
def _compute(way: Product, a: torch.Tensor, b: torch.Tensor) -> None:
    way(a, b)
    if a.is_cuda:
        torch.cuda.synchronize(a.device)
