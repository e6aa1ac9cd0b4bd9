"""Training configuration: YAML, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from model.degradation import RecipeName
from model.networks import Architecture
from model.networks.layers import check_size


def _network_size(size: int) -> int:
    check_size(size)
    return size


Size = Annotated[int, AfterValidator(_network_size)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says in one line what is wrong."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Section):
    """The variant to train; its size is ``train.img_size``."""

    channel_multiplier: PositiveInt = 2
    narrow: Fraction = 1.0


class DataConfig(_Section):
    folder: Path | None = None
    """Aligned square faces, searched recursively; ``--data`` overrides it."""
    holdout: Path | None = None
    """Faces not to train on but to validate on: one path a line, relative to the list's folder."""
    recipes: Annotated[dict[RecipeName, PositiveFloat], Field(min_length=1)] = {"gpen": 1.0}
    """Degradation recipes and how often each is used, relative to the others."""
    workers: NonNegativeInt = 2
    """Processes that make pairs; 0 makes them in the trainer's own."""


class ContentConfig(_Section):
    """The stage before any discriminator; from scratch nothing else makes sense."""

    epochs: NonNegativeInt = 0
    lr: PositiveFloat = 1e-3
    lr_min: PositiveFloat = 1e-4


class LossConfig(_Section):
    """Weights of G's losses; ``detail`` is part of the content loss."""

    content: NonNegativeFloat = 1.0
    detail: NonNegativeFloat = 1.0
    adversarial: NonNegativeFloat = 1.0
    feature_matching: NonNegativeFloat = 0.02


class TrainConfig(_Section):
    num_epochs: PositiveInt
    """Epochs after the content stage, warm-up included."""
    warmup_epochs: NonNegativeInt = 0
    """Epochs in which only the discriminator learns."""
    content: ContentConfig = ContentConfig()
    lr_g: PositiveFloat = 2e-4
    lr_d: PositiveFloat = 1e-4
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    weight_decay: NonNegativeFloat = 0.0
    """Zero: decay would act on equalized weights as a learning rate schedule nobody asked for."""
    lr_policy: Literal["cosine"] = "cosine"
    lr_min: PositiveFloat = 1e-6
    """Where ``lr_g`` ends."""
    eta_min_d: PositiveFloat = 5e-7
    """Where ``lr_d`` ends."""
    batch_size: PositiveInt = 8
    img_size: Size = 512
    use_gradient_penalty: bool = True
    gp_lambda: NonNegativeFloat | Literal["auto"] = "auto"
    """R1 weight; ``auto`` is 0.0002 * size^2 / batch (StyleGAN2-ADA)."""
    gp_interval: PositiveInt = 16
    """In steps."""
    losses: LossConfig = LossConfig()
    augment_d: bool = True
    """Vary what D sees (DiffAugment)."""
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
        """``gp_lambda``, as a number."""
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
        """The variant to train."""
        return Architecture(
            self.train.img_size, self.network.channel_multiplier, self.network.narrow
        )

    def with_data(self, folder: Path) -> Config:
        """The same, on another folder of faces."""
        data = self.data.model_copy(update={"folder": folder})
        return self.model_copy(update={"data": data})


def load_config(path: Path, overrides: list[str]) -> Config:
    """Read a configuration; ``overrides`` are ``section.key=value``, the value as YAML.

    Raises OSError, or ConfigError naming the key that is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text())
        if not isinstance(document, dict):
            raise ConfigError(f"{path} holds no sections")
        for override in overrides:
            _override(document, override)
        return Config.model_validate(document)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path} or a --set is no YAML: {' '.join(str(error).split())}"
        ) from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_in_one_line(error)}") from error


def _override(document: dict[str, Any], override: str) -> None:
    dotted, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"--set takes section.key=value, not {override!r}")
    *sections, key = dotted.split(".")
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section} is no section")
    target[key] = yaml.safe_load(value)


def _in_one_line(error: ValidationError) -> str:
    return "; ".join(
        ": ".join([".".join(map(str, detail["loc"])), detail["msg"]]).removeprefix(": ")
        for detail in error.errors()
    )
