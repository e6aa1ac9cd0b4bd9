"""What ``torchrun`` runs for ``test_processes``: steps and runs shared by its processes.

``torchrun -m tests.model.training.two_processes FACES OUTPUT`` writes to OUTPUT: gradients and
weights of shared steps (``steps.pt``), a run without (``whole/``) and one with an interruption
(``resumed/``), and one that stops early (``early/``).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.data.dataset import open_training_data
from model.train import train
from model.training.config import Config
from model.training.loading import load_steps
from model.training.processes import Processes
from model.training.state import TrainingState
from model.training.steps import Alone, Setup, Team, training_step
from tests.model.training_runs import stop_after

STEPS = 5


def configuration(faces: Path, **changes: object) -> Config:
    """Joint from the first step on, with R1 at every second, and two steps an epoch."""
    training = {
        "img_size": 32,
        "batch_size": 4,
        "num_epochs": 3,
        "gp_interval": 2,
        "ema_half_life": 20,
        "path_length": {"weight": 2, "interval": 2},
    }
    return Config.model_validate(
        {
            "train": training | changes,
            "network": {"channel_multiplier": 1, "narrow": 1 / 16},
            "data": {"workers": 0, "folder": faces},
        }
    )


@dataclass
class Witness:
    """A team that keeps the gradients that it agrees on, in order: D's, G's, D's, ..."""

    team: Team = field(default_factory=Alone)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)

    def average_gradients(self, network: nn.Module) -> None:
        self.team.average_gradients(network)
        self.gradients.append(
            {
                name: parameter.grad.clone()
                for name, parameter in network.named_parameters()
                if parameter.grad is not None
            }
        )

    def average(self, values: list[float]) -> list[float]:
        return self.team.average(values)


@dataclass(frozen=True)
class Steps:
    """Averaged gradients of every update, and the weights after all of them."""

    gradients: list[dict[str, Tensor]]
    g: dict[str, Tensor]
    d: dict[str, Tensor]


def take_steps(config: Config, witness: Witness, process: int, processes: int) -> Steps:
    """Five steps, as one of some processes has them."""
    assert config.data.folder is not None
    dataset = open_training_data(config.data, 32, 0).dataset
    state = TrainingState.fresh(config)
    setup = Setup(config.train, per_epoch=2, generate=state.generator, team=witness)
    cpu = torch.device("cpu")
    for batches in load_steps(dataset, config, 0, STEPS, cpu, process, processes):
        training_step(state, batches, setup)
    return Steps(witness.gradients, state.generator.state_dict(), state.discriminator.state_dict())


def main(faces: Path, output: Path) -> None:
    processes = Processes.join()
    assert processes.count == 2
    shared = take_steps(configuration(faces), Witness(processes), processes.index, processes.count)
    if processes.first:
        torch.save(vars(shared), output / "steps.pt")

    config = configuration(faces, content={"epochs": 1}, warmup_epochs=1, seed=3)
    train(config, output / "whole")
    with pytest.MonkeyPatch.context() as patch:
        if not processes.first:  # the signal reaches one of them
            stop_after(5, patch)
        assert train(config, output / "resumed") == "interrupted"
    torch.manual_seed(123)
    train(config, output / "resumed", resume=output / "resumed" / "last.pt")

    early = configuration(faces, num_epochs=9, early_stopping={"patience": 1, "delta": 50})
    reasons = processes.gather(train(early, output / "early"))
    assert reasons == ["stopped early"] * 2
    Processes.leave()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
