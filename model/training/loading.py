"""Loads the micro-batches of every step from a dataset to the device."""

from __future__ import annotations

import signal
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from model.data.dataset import DegradedFaces, PairedFaces, to_halves
from model.data.pictures import TooManyUnusableError
from model.data.sampling import EpochBatches
from model.training.config import Config

SAVING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals on which a run saves and exits.  Slurm can send SIGUSR1 before a time limit."""


@dataclass(frozen=True)
class Batch:
    """Training pairs: both halves (N, 3, R, R) in [-1, 1]."""

    low: Tensor
    high: Tensor
    part: int = 0
    """The number of the micro-batch in the step's batch; random draws depend on it."""


def load_steps(
    dataset: DegradedFaces | PairedFaces,
    config: Config,
    start: int,
    stop: int,
    device: torch.device,
    process: int = 0,
    processes: int = 1,
) -> Generator[list[Batch]]:
    """The micro-batches of one process for each of the steps from ``start`` to ``stop``.

    Close the generator, which ends its worker processes: they ignore the signal by which Python
    would end them at its exit, and would keep it waiting for ever.

    All processes compute the first ``processes`` micro-batches of a step at the same time, then the
    next ones, and so on.  The contents of micro-batches do not depend on the number of processes if
    that number times ``accumulation`` is the same.  Raises TooManyUnusableError.
    """
    train = config.train
    parts = processes * train.accumulation
    taken = range(process, parts, processes)
    sampler = EpochBatches(
        len(dataset), train.batch_size, train.seed, start, max(start, stop), parts, taken,
        dataset.weights,
    )  # fmt: skip
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=config.data.workers,
        worker_init_fn=_prepare_worker,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # not the global one, whose state a resumed run restores
    )
    batches = iter(loader)
    try:
        for _ in range(start, stop):
            loaded = list(zip(taken, batches, strict=False))
            yield [
                Batch(*to_halves(pairs.to(device, non_blocking=True)), part)
                for part, pairs in loaded
            ]
    except TooManyUnusableError as error:  # a worker's message has a traceback before it
        message = str(error).strip().rpartition(f"{TooManyUnusableError.__name__}: ")[2]
        raise TooManyUnusableError(message) from error
    finally:
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            # not left to the garbage collector: a traceback may refer to it until the exit
            batches._shutdown_workers()


def _prepare_worker(_index: int) -> None:
    # a signal to the process group is for the trainer, which ends its workers itself
    for number in SAVING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
