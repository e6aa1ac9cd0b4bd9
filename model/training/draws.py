"""Random draws of a training step.

They are a function of seed, step, micro-batch and purpose, and depend neither on earlier draws nor
on the number of processes that share a step.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from model.training import diffaugment


class Purpose(IntEnum):
    """The purpose of a draw."""

    DISCRIMINATOR = 0
    GENERATOR = 1
    PATH_LENGTH = 2


def generator_for(seed: int, step: int, part: int, purpose: Purpose) -> torch.Generator:
    """A generator on the CPU; ``part`` is the number of the micro-batch in the step's batch."""
    key = np.random.SeedSequence([seed, step, part, purpose])
    return torch.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0]))


def variation(like: Tensor, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A random DiffAugment variation, to be applied equally to restored faces and their targets.

    ``like`` (N, 3, R, R) gives the number of pictures and the device.
    """
    drawn = diffaugment.draw(len(like), like.device, rng)
    return lambda x: diffaugment.apply(x, drawn)
