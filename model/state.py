"""Everything that training changes, and its checkpoint on disk."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from model.config import Config
from model.initialisation import start_as_identity
from model.networks import Discriminator, FullGenerator


@dataclass
class TrainingState:
    generator: FullGenerator
    discriminator: Discriminator
    ema: FullGenerator
    """Exponential moving average of the generator: what is validated and served."""
    optimizer_g: AdamW
    optimizer_d: AdamW
    step: int = 0
    best_psnr: float = 0.0

    @classmethod
    def fresh(cls, config: Config) -> TrainingState:
        """Networks from scratch, the generator returning its input."""
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
        for average, value in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
            average.lerp_(value, 1 - decay)

    def save(self, path: Path, config: Config) -> None:
        """Write the checkpoint; the file is whole or not there."""
        document = {
            "g": self.generator.state_dict(),
            "d": self.discriminator.state_dict(),
            "g_ema": self.ema.state_dict(),
            "g_optim": self.optimizer_g.state_dict(),
            "d_optim": self.optimizer_d.state_dict(),
            "step": self.step,
            "best_psnr": self.best_psnr,
            "rng": torch.get_rng_state(),
            "config": config.model_dump(mode="json"),
        }
        temporary = path.with_suffix(".tmp")
        torch.save(document, temporary)
        os.replace(temporary, path)

    def restore(self, path: Path) -> None:
        document: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.generator.load_state_dict(document["g"])
        self.discriminator.load_state_dict(document["d"])
        self.ema.load_state_dict(document["g_ema"])
        self.optimizer_g.load_state_dict(document["g_optim"])
        self.optimizer_d.load_state_dict(document["d_optim"])
        self.step = document["step"]
        self.best_psnr = document["best_psnr"]
        rng: Tensor = document["rng"]
        torch.set_rng_state(rng)


def _optimizer(network: nn.Module, lr: float, config: Config) -> AdamW:
    train = config.train
    return AdamW(
        network.parameters(),
        lr=lr,
        betas=(train.beta1, train.beta2),
        weight_decay=train.weight_decay,
    )
