"""From a dataset to the micro-batches of every step, on the device."""

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
"""Which have a run save itself and end.  SIGUSR1 is what Slurm can send ahead of a time limit."""


@dataclass(frozen=True)
class Batch:
    """Training pairs: both halves (N, 3, R, R) in [-1, 1]."""

    low: Tensor
    high: Tensor
    part: int = 0
    """Which micro-batch of the step's batch it is; random draws depend on it."""


def load_steps(
    dataset: DegradedFaces | PairedFaces,
    config: Config,
    start: int,
    stop: int,
    device: torch.device,
    process: int = 0,
    processes: int = 1,
) -> Generator[list[Batch]]:
    """The micro-batches of one process, as many as it accumulates, for each of its steps.

    Its worker processes end with the generator: close it.  They ignore the signal by which Python
    ends what is left of them at its exit, and would keep it waiting for ever.

    Of the micro-batches of a step, the first ``processes`` are worked on at once, and so on: which
    picture is in which does not depend on how many processes there are, if their number times
    ``accumulation`` stays the same.  Raises TooManyUnusableError, in one line.
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
        generator=torch.Generator(),  # else it draws from the one that a resumed run goes on with
    )
    batches = iter(loader)
    try:
        for _ in range(start, stop):
            loaded = list(zip(taken, batches, strict=False))
            yield [
                Batch(*to_halves(pairs.to(device, non_blocking=True)), part)
                for part, pairs in loaded
            ]
    except TooManyUnusableError as error:  # from a worker with its traceback in front
        message = str(error).strip().rpartition(f"{TooManyUnusableError.__name__}: ")[2]
        raise TooManyUnusableError(message) from error
    finally:
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            # not left to the garbage collector: a traceback may refer to it until the exit
            batches._shutdown_workers()


def _prepare_worker(_index: int) -> None:
    # a signal to the process group is for the trainer, which then ends its workers
    for number in SAVING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
