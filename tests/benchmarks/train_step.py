"""``python -m tests.benchmarks.train_step``: a step of training, against the published one.

All contestants take steps from the same weights on the same pictures, by turns in one run:
``tests.benchmarks.published`` in float32, and ``model.training.steps`` in float32 and bfloat16.  A
step is an update of D, one of G, and the moving average following.  Each has a process of its own,
for ``model.train`` has ``model.training.memory`` keep freed memory, and the published command does
not; ``--keep-memory`` grants it that as well.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

import torch
from torch import Tensor, nn

from model.training.config import Config, TrainConfig
from model.training.loading import Batch
from model.training.memory import keep_freed_memory
from model.training.state import TrainingState
from model.training.steps import Setup, joint_step
from tests.benchmarks import published

Precision = Literal["fp32", "bf16"]

SIZE, BATCH_SIZE = 256, 4
NETWORK = {"channel_multiplier": 1, "narrow": 0.5}  # GPEN-BFR-256
EMA_DECAY = 0.999
WARM_UP = 6  # rounds, until the heap has grown to what a step needs
TOLERANCE = 1e-4  # relative


@dataclass
class Contestant:
    """A training run to take steps of."""

    state: TrainingState
    config: TrainConfig

    @classmethod
    def fresh(cls, precision: Precision) -> Contestant:
        train = {"num_epochs": 1, "batch_size": BATCH_SIZE, "img_size": SIZE, "augment_d": False}
        config = Config.model_validate(
            {"train": train | {"precision": precision}, "network": NETWORK}
        )
        state = TrainingState.fresh(config)
        shake(state.generator)
        shake(state.discriminator)
        return cls(state, config.train)

    def step(self, batch: Batch, *, r1: bool) -> dict[str, Tensor]:
        """A step from where the last one arrived."""
        self.state.step = 0 if r1 else 1
        setup = Setup(self.config, 1, self.state.generator)
        values = joint_step(self.state, [batch], setup, train_g=True)
        self.state.update_ema(EMA_DECAY)
        return values

    def time(self, batch: Batch, *, r1: bool) -> float:
        start = time.perf_counter()
        self.step(batch, r1=r1)
        return time.perf_counter() - start


class Published(Contestant):
    @classmethod
    def fresh(cls, precision: Precision) -> Contestant:
        contestant = super().fresh(precision)
        published.publish(contestant.state.generator)
        published.publish(contestant.state.discriminator)
        return contestant

    def step(self, batch: Batch, *, r1: bool) -> dict[str, Tensor]:
        values = published.joint_step(self.state, batch, self.config, r1=r1)
        published.accumulate(self.state.ema, self.state.generator, EMA_DECAY)
        return values


@torch.no_grad()
def shake(network: nn.Module) -> None:
    """Move weights from where they start, which is too simple: G returns its input."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


def assert_same(ours: Contestant, theirs: Contestant, batch: Batch) -> None:
    """Both compute the same: pictures, logits, and a step's losses and gradients, R1 included."""
    with torch.no_grad():
        restored = ours.state.generator(batch.low)
        assert_close(restored, theirs.state.generator(batch.low))
        logits = ours.state.discriminator(restored)
        assert_close(logits, theirs.state.discriminator(restored))
    one, other = (copy.deepcopy(contestant).step(batch, r1=True) for contestant in (ours, theirs))
    for name, value in other.items():
        assert_close(one[name], value)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    scale = theirs.square().mean().sqrt().item()
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE * scale)


def pictures() -> Batch:
    generator = torch.Generator().manual_seed(0)
    low, high = torch.rand(2, BATCH_SIZE, 3, SIZE, SIZE, generator=generator) * 2 - 1
    return Batch(low, high)


def work(
    orders: Connection,
    name: Literal["published", "fp32", "bf16"],
    threads: int,
    *,
    keep_memory: bool,
) -> None:
    """In a process of its own: take a step for every order, which says whether with R1."""
    if keep_memory:
        keep_freed_memory()
    torch.set_num_threads(threads)
    contestant = Published.fresh("fp32") if name == "published" else Contestant.fresh(name)
    batch = pictures()
    while (r1 := orders.recv()) is not None:
        orders.send(contestant.time(batch, r1=r1))


@contextmanager
def at_work(name: str, threads: int, *, keep_memory: bool) -> Iterator[Connection]:
    """A contestant's process, at the other end of what is returned."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=work, args=(theirs, name, threads), kwargs={"keep_memory": keep_memory}
    )
    process.start()
    try:
        yield ours
        ours.send(None)
    finally:
        process.join(1)
        process.kill()


def measure(options: argparse.Namespace) -> dict[tuple[str, bool], float]:
    """Median seconds of a step; keys: whose, and whether with R1."""
    names = ["published", "fp32"]
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        names.append("bf16")
    times: dict[tuple[str, bool], list[float]] = {}
    with ExitStack() as stack:
        contestants = {
            name: stack.enter_context(
                at_work(
                    name,
                    options.threads,
                    keep_memory=options.keep_memory or name != "published",
                )
            )
            for name in names
        }
        for run in range(options.runs + WARM_UP):
            for r1 in (False, True):
                for name, contestant in contestants.items():
                    contestant.send(r1)
                    seconds = contestant.recv()
                    if run >= WARM_UP:
                        times.setdefault((name, r1), []).append(seconds)
    return {key: statistics.median(values) for key, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--keep-memory", action="store_true", help="for the published step too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    assert_same(Contestant.fresh("fp32"), Published.fresh("fp32"), pictures())
    medians = measure(options)
    interval = Config.model_validate({"train": {"num_epochs": 1}}).train.gp_interval
    plain, with_r1 = medians["published", False], medians["published", True]
    sys.stdout.write(f"published: step {plain:.2f} s, step with R1 {with_r1:.2f} s\n")
    for name in ("fp32", "bf16"):
        if (name, False) not in medians:
            continue
        ours, ours_r1 = medians[name, False], medians[name, True]
        mixed = ((interval - 1) * plain + with_r1) / ((interval - 1) * ours + ours_r1)
        sys.stdout.write(
            f"ours, {name}: step {ours:.2f} s, ratio {plain / ours:.1f}; "
            f"step with R1 {ours_r1:.2f} s, ratio {with_r1 / ours_r1:.1f}; "
            f"R1 in one of {interval}, ratio {mixed:.1f}\n"
        )


if __name__ == "__main__":
    main()
