"""The settings of a training run: names, ranges, defaults, and combinations that are refused.

``model.training.config_file`` reads them from YAML.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from model.data.config import DataConfig
from model.networks import Architecture
from model.networks.layers import check_size
from model.section import Section
from model.training.generator_losses import LossConfig
from model.training.length import Length
from model.training.precision import Precision


def _network_size(size: int) -> int:
    check_size(size)
    return size


Size = Annotated[int, AfterValidator(_network_size)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Metric = Literal["psnr", "ssim", "perceptual", "lpips", "niqe"]


def _check_rates_fall(**rates: float) -> None:
    (start_name, start), (end_name, end) = rates.items()
    if end > start:
        raise ValueError(f"{end_name} {end:g} is more than {start_name} {start:g}: rates must fall")


def _check_one_unit(length: Length, prefix: str = "") -> None:
    if len(length.given) > 1:
        names = [f"{prefix}{unit}" for unit in length.given]
        raise ValueError(f"{' and '.join(names)} both say how long the stage takes: set one")


class NetworkConfig(Section):
    """The variant to train; its size is ``train.img_size``."""

    channel_multiplier: PositiveInt = 2
    narrow: Fraction = 1.0


class ContentConfig(Section):
    """The stage in which G learns alone.  Training from scratch needs it."""

    epochs: NonNegativeFloat | None = None
    steps: NonNegativeInt | None = None
    images: NonNegativeInt | None = None
    """Length of the stage, in one of these units.  Without any, there is no such stage."""
    lr: PositiveFloat = 1e-3
    """Good values are 1e-3 to 2e-3."""
    lr_min: PositiveFloat = 1e-4

    @property
    def length(self) -> Length:
        return Length(self.epochs, self.steps, self.images)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _check_one_unit(self.length)
        _check_rates_fall(lr=self.lr, lr_min=self.lr_min)
        return self


class InitialConfig(Section):
    """Weights to start from; without them, a run starts from scratch."""

    g: Path | None = None
    """A generator, or only its GAN prior; ``model.training.pretrained`` says which files are
    accepted.  This and ``d`` may be names that ``gpen weights list`` shows, such as
    ``gpen-bfr-512``.  A generator of half the size is grown (``model.networks.growing``)."""
    d: Path | None = None
    """A discriminator of the kind that ``train.discriminator`` names."""


class PathLengthConfig(Section):
    """Path-length regularisation of G (StyleGAN2, section 3.2); the published weight is 2."""

    weight: NonNegativeFloat = 0.0
    interval: PositiveInt = 4
    """In steps."""


class EarlyStoppingConfig(Section):
    """Stop when ``validation.metric`` has not improved by ``delta`` in ``patience`` validations."""

    patience: PositiveInt = 8
    delta: NonNegativeFloat = 0.002
    """In the unit of the metric, which is dB for PSNR."""


class ValidationConfig(Section):
    """How G's moving average is validated on the held-out faces."""

    metric: Metric = "psnr"
    """Decides which checkpoint is the best, and when to stop.  PSNR rewards the mean of all
    possible originals, and so works against a discriminator; ``perceptual`` is the distance between
    features of EfficientNet-lite1, which is not used for training; ``lpips`` needs
    ``train.losses.lpips_weights``."""


class TrainConfig(Section):
    num_epochs: PositiveFloat | None = None
    num_steps: PositiveInt | None = None
    num_images: PositiveInt | None = None
    """How long training takes after the content stage, warm-up included, in one of these units.
    Epochs may be fractions; all are rounded to whole steps."""
    warmup_epochs: NonNegativeFloat | None = None
    warmup_steps: NonNegativeInt | None = None
    warmup_images: NonNegativeInt | None = None
    """Length of the warm-up, in which D learns alone, in one of these units.  Without any, there is
    no warm-up."""
    content: ContentConfig = ContentConfig()
    initial: InitialConfig = InitialConfig()
    seed: NonNegativeInt = 0

    lr_g: PositiveFloat = 2e-4
    lr_d: PositiveFloat = 1e-4
    lr_policy: Literal["cosine"] = "cosine"
    lr_min: PositiveFloat = 1e-6
    """The value to which ``lr_g`` falls."""
    eta_min_d: PositiveFloat = 5e-7
    """The value to which ``lr_d`` falls."""
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    weight_decay: NonNegativeFloat = 0.0
    """Zero, because decay would change the effective learning rate of equalized weights."""
    clip_grad_norm: PositiveFloat = 10.0
    max_skipped: NonNegativeInt = 10
    """How many of the last hundred steps may be skipped because a gradient was not finite.  One
    more ends the run."""

    batch_size: PositiveInt = 8
    """Faces of a step, over all processes and accumulated micro-batches."""
    accumulation: PositiveInt = 1
    """Micro-batches that each process computes one after the other in a step."""
    img_size: Size = 512
    precision: Precision = "fp32"
    compile: bool = False
    """Compile G and the ``stylegan2`` discriminator, except in steps that need second derivatives
    (R1, path length), which compiled code does not have."""
    threads: PositiveInt | None = None
    """PyTorch's threads in each process; null leaves the number to PyTorch.  On a CPU, two
    processes with one thread each are faster than one process with two threads, and a thread that
    shares its core with other work delays all the others."""

    discriminator: Literal["stylegan2", "projected"] = "stylegan2"
    """``stylegan2``: the published one; the next four settings apply to it alone.  ``projected``:
    heads on the frozen features of EfficientNet-lite0, and on the pixels."""

    use_gradient_penalty: bool = True
    gp_lambda: NonNegativeFloat | Literal["auto"] = "auto"
    """R1 weight; ``auto`` is 0.0002 * size^2 / batch (StyleGAN2-ADA)."""
    gp_interval: PositiveInt = 16
    """In steps."""
    augment_d: bool = True
    """Augment what D sees (DiffAugment)."""

    losses: LossConfig = LossConfig()
    path_length: PathLengthConfig = PathLengthConfig()
    ema_half_life: PositiveInt = 10_000
    """In images."""

    validate_every: PositiveInt = 1
    """In epochs."""
    early_stopping: EarlyStoppingConfig | None = EarlyStoppingConfig()
    """Counts validations from the first joint epoch on; ``null`` switches it off."""
    log_every: PositiveInt = 50
    """In steps; there is also a row at the end of every epoch."""
    save_every: PositiveInt = 1000
    """In steps; there is also a checkpoint at the end of every epoch."""
    keep_last: PositiveInt = 3
    """How many checkpoints are kept, besides the best."""
    wandb_project: str | None = None
    """Project of Weights & Biases that shows the curves too; needs the package ``wandb``."""

    @property
    def r1_weight(self) -> float:
        """``gp_lambda``, as a number."""
        if self.gp_lambda == "auto":
            return 0.0002 * self.img_size**2 / self.batch_size
        return self.gp_lambda

    @property
    def length(self) -> Length:
        """Length of everything after the content stage."""
        return Length(self.num_epochs, self.num_steps, self.num_images)

    @property
    def warmup(self) -> Length:
        return Length(self.warmup_epochs, self.warmup_steps, self.warmup_images)

    def micro_batch(self, processes: int) -> int:
        """Faces that a process computes at once; D's minibatch statistics compare these.

        Raises ValueError if the batch cannot be divided.
        """
        parts = processes * self.accumulation
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared by {processes} processes with "
                f"accumulation {self.accumulation}: {parts} does not divide it; "
                f"train.batch_size={4 * parts} gives each micro-batch the 4 samples that D compares"
            )
        return self.batch_size // parts

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _check_one_unit(self.length, "num_")
        _check_one_unit(self.warmup, "warmup_")
        if not self.length.given:
            raise ValueError("num_epochs, num_steps or num_images must say how long training takes")
        for unit, total, warmup in zip(Length._fields, self.length, self.warmup, strict=True):
            if total is not None and warmup is not None and warmup > total:
                raise ValueError(f"warmup_{unit} {warmup:g} is more than num_{unit} {total:g}")
        _check_rates_fall(lr_g=self.lr_g, lr_min=self.lr_min)
        _check_rates_fall(lr_d=self.lr_d, eta_min_d=self.eta_min_d)
        self.micro_batch(processes=1)
        return self


class Config(Section):
    train: TrainConfig
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _lpips_can_be_measured(self) -> Self:
        if self.validation.metric == "lpips" and self.train.losses.lpips_weights is None:
            raise ValueError("validation.metric lpips needs train.losses.lpips_weights")
        return self

    @property
    def architecture(self) -> Architecture:
        """The variant to train."""
        return Architecture(
            self.train.img_size, self.network.channel_multiplier, self.network.narrow
        )

    def with_data(self, folder: Path) -> Config:
        """The same configuration for another folder of faces."""
        data = self.data.model_copy(update={"folder": folder})
        return self.model_copy(update={"data": data})
