"""Training configuration: YAML, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from model.degradation import RecipeName
from model.networks import Architecture

NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Section):
    """The variant to train; its size is ``train.img_size``."""

    channel_multiplier: PositiveInt = 2
    narrow: Fraction = 1.0


class DataConfig(_Section):
    folder: Path | None = None
    holdout: Path | None = None
    """Faces not to train on but to validate on: one path a line, relative to the list's folder."""
    recipes: dict[RecipeName, PositiveFloat] = {"gpen": 1.0}
    workers: Annotated[int, Field(ge=0)] = 2


class ContentConfig(_Section):
    """The stage before any discriminator; from scratch nothing else makes sense."""

    epochs: Annotated[int, Field(ge=0)] = 0
    lr: PositiveFloat = 1e-3
    lr_min: PositiveFloat = 1e-4


class LossConfig(_Section):
    content: NonNegative = 1.0
    detail: NonNegative = 1.0
    adversarial: NonNegative = 1.0
    feature_matching: NonNegative = 0.02


class TrainConfig(_Section):
    num_epochs: PositiveInt
    """Epochs after the content stage, warm-up included."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs in which only the discriminator learns."""
    content: ContentConfig = ContentConfig()
    lr_g: PositiveFloat = 2e-4
    lr_d: PositiveFloat = 1e-4
    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    weight_decay: NonNegative = 0.0
    """Zero: decay would act on equalized weights as a learning rate schedule nobody asked for."""
    lr_policy: Literal["cosine"] = "cosine"
    lr_min: PositiveFloat = 1e-6
    eta_min_d: PositiveFloat = 5e-7
    batch_size: PositiveInt = 8
    img_size: PositiveInt = 512
    use_gradient_penalty: bool = True
    gp_lambda: NonNegative | Literal["auto"] = "auto"
    """R1 weight; ``auto`` is 0.0002 * size^2 / batch (StyleGAN2-ADA)."""
    gp_interval: PositiveInt = 16
    losses: LossConfig = LossConfig()
    augment_d: bool = True
    ema_half_life: PositiveInt = 10_000
    """In images."""
    clip_grad_norm: PositiveFloat = 10.0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    seed: int = 0
    validate_every: PositiveInt = 1
    """In epochs."""

    @property
    def r1_weight(self) -> float:
        if self.gp_lambda == "auto":
            return 0.0002 * self.img_size**2 / self.batch_size
        return self.gp_lambda

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        if self.warmup_epochs > self.num_epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} is more than num_epochs {self.num_epochs}"
            )
        return self


class Config(_Section):
    train: TrainConfig
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()

    @property
    def architecture(self) -> Architecture:
        return Architecture(
            self.train.img_size, self.network.channel_multiplier, self.network.narrow
        )


def load_config(path: Path, overrides: list[str]) -> Config:
    """Read a configuration; ``overrides`` are ``section.key=value``, the value as YAML.

    Raises ValueError (pydantic's ValidationError among them) naming the key that is wrong.
    """
    document: dict[str, Any] = yaml.safe_load(path.read_text()) or {}
    for override in overrides:
        dotted, separator, value = override.partition("=")
        if not separator:
            raise ValueError(f"--set takes section.key=value, not {override!r}")
        *sections, key = dotted.split(".")
        target = document
        for section in sections:
            target = target.setdefault(section, {})
        target[key] = yaml.safe_load(value)
    return Config.model_validate(document)
