"""Everything that training changes, and its checkpoint on disk."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from model.config import Config
from model.initialisation import start_as_identity
from model.networks import Discriminator, FullGenerator


@dataclass(frozen=True)
class TrainingCheckpoint:
    """What a checkpoint file holds: a dict with these names, the first five being the authors'."""

    g: dict[str, Tensor]
    d: dict[str, Tensor]
    g_ema: dict[str, Tensor]
    g_optim: dict[str, Any]
    d_optim: dict[str, Any]
    step: int
    best_psnr: float
    rng: Tensor
    config: dict[str, Any]


@dataclass
class TrainingState:
    generator: FullGenerator
    discriminator: Discriminator
    ema: FullGenerator
    """Exponential moving average of the generator: what is validated and served."""
    optimizer_g: Optimizer
    optimizer_d: Optimizer
    step: int = 0
    """Steps done, over all stages."""
    best_psnr: float = 0.0
    """Of the moving average, in dB, in any validation so far."""

    @classmethod
    def fresh(cls, config: Config) -> TrainingState:
        """Networks from scratch, the generator returning its input.  Seeds PyTorch."""
        torch.manual_seed(config.train.seed)
        generator = config.architecture.generator()
        start_as_identity(generator)
        discriminator = config.architecture.discriminator()
        ema = copy.deepcopy(generator).eval().requires_grad_(False)
        return cls(
            generator,
            discriminator,
            ema,
            _optimizer(generator, config.train.lr_g, config),
            _optimizer(discriminator, config.train.lr_d, config),
        )

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """Move the average towards the generator: ema = decay * ema + (1 - decay) * generator."""
        for average, value in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
            average.lerp_(value, 1 - decay)

    def save(self, path: Path, config: Config) -> None:
        """Write the checkpoint; the file is whole or not there."""
        checkpoint = TrainingCheckpoint(
            g=self.generator.state_dict(),
            d=self.discriminator.state_dict(),
            g_ema=self.ema.state_dict(),
            g_optim=self.optimizer_g.state_dict(),
            d_optim=self.optimizer_d.state_dict(),
            step=self.step,
            best_psnr=self.best_psnr,
            rng=torch.get_rng_state(),
            config=config.model_dump(mode="json"),
        )
        temporary = path.with_suffix(".tmp")
        torch.save(vars(checkpoint), temporary)
        temporary.replace(path)

    def restore(self, path: Path, config: Config) -> None:
        """Go on from a checkpoint, PyTorch's random numbers included.

        Raises OSError, or ValueError if it is none or of another architecture than ``config``'s.
        """
        checkpoint = read_checkpoint(path)
        architecture = Config.model_validate(checkpoint.config).architecture
        if architecture != config.architecture:
            raise ValueError(f"{path} is of {architecture}, not of {config.architecture}")
        self.generator.load_state_dict(checkpoint.g)
        self.discriminator.load_state_dict(checkpoint.d)
        self.ema.load_state_dict(checkpoint.g_ema)
        self.optimizer_g.load_state_dict(checkpoint.g_optim)
        self.optimizer_d.load_state_dict(checkpoint.d_optim)
        self.step = checkpoint.step
        self.best_psnr = checkpoint.best_psnr
        torch.set_rng_state(checkpoint.rng)


def read_checkpoint(path: Path) -> TrainingCheckpoint:
    """Read what :meth:`TrainingState.save` wrote.  Raises OSError; ValueError for other files."""
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # unpickling a broken file raises nearly anything
        raise ValueError(f"{path} is no checkpoint of model.train") from error
    names = {field.name for field in fields(TrainingCheckpoint)}
    if not isinstance(document, dict) or set(document) != names:
        raise ValueError(f"{path} is no checkpoint of model.train")
    return TrainingCheckpoint(**document)


def _optimizer(network: nn.Module, lr: float, config: Config) -> AdamW:
    train = config.train
    return AdamW(
        network.parameters(),
        lr=lr,
        betas=(train.beta1, train.beta2),
        weight_decay=train.weight_decay,
    )
