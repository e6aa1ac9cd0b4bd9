"""Training in several processes: their devices, and how they average gradients and values.

Hugging Face Accelerate finds the device and connects the processes that ``torchrun`` or
``accelerate launch`` has started, on one machine or many.  Its wrappers of models and optimizers
are not used:

* DistributedDataParallel averages gradients inside of ``backward``.  A GAN's step has several
  backward passes, through a D that learns and through one that only passes gradients on, with R1's
  second derivative in one step of sixteen: each needs ``no_sync`` or ``find_unused_parameters``
  in its own way.  Averaging once, when a network's gradient is complete, is one line that is right
  for all of them, and gives what one process with accumulation gives
  (tests/model/training/test_processes).  What it costs is that communication does not overlap with
  the backward pass.
* Precision is the configuration's, and the same however a run was started.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast, gather_object
from torch import Tensor, nn

T = TypeVar("T")

_PATIENCE = timedelta(hours=1)  # the others wait while the first process validates


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them."""

    accelerator: Accelerator

    @classmethod
    def join(cls) -> Processes:
        """Connect to the other processes of the run, if there are any."""
        return cls(
            Accelerator(
                cpu=not torch.accelerator.is_available(),
                mixed_precision="no",
                kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
            )
        )

    @staticmethod
    def leave() -> None:
        """Disconnect at the end of the program; otherwise gloo's threads may abort it."""
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    @property
    def device(self) -> torch.device:
        """The device that this process computes on."""
        return torch.device(self.accelerator.device)

    @property
    def count(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def index(self) -> int:
        return int(self.accelerator.process_index)

    @property
    def first(self) -> bool:
        """Whether this is the first process, which writes files and validates."""
        return self.index == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Replace gradients by their means over the processes, in one message."""
        if self.count == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = self._mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def average(self, values: list[float]) -> list[float]:
        """Means over the processes; each must pass the same number of values in the same order."""
        if self.count == 1:
            return values
        means: list[float] = self._mean(torch.tensor(values, device=self.device)).tolist()
        return means

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.average([float(flag)])[0] > 0

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        self.accelerator.wait_for_everyone()

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in order."""
        values: list[T] = gather_object([value])
        return values

    def copy_first(self, network: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        if self.count > 1:
            for tensor in network.state_dict().values():
                tensor.copy_(broadcast(tensor))

    def _mean(self, values: Tensor) -> Tensor:
        mean = self.accelerator.reduce(values, reduction="mean")
        assert isinstance(mean, Tensor)
        return mean
