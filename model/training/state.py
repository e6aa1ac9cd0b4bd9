"""Everything that training changes, and the checkpoints that it is saved in."""

from __future__ import annotations

import copy
import math
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import AdamW, Optimizer

from model.files import written_whole
from model.networks import FullGenerator
from model.networks.initialisation import start_as_identity
from model.training.adversaries import adversary_of
from model.training.config import Config
from model.training.pretrained import load_initial_discriminator, load_initial_generator
from model.training.schedule import Stage

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Standing:
    """The results of a stage's validations so far."""

    stage: str = ""
    best: float = -math.inf
    """The best value of ``validation.metric``, negated if lower is better."""
    reference: float = -math.inf
    """The value that the next one has to exceed by ``delta``."""
    waited: int = 0
    """Validations since then that did not exceed it."""

    def after(self, merit: float, stage: Stage, delta: float) -> Standing:
        """The standing after one more validation; each stage starts anew."""
        before = self if self.stage == stage else Standing(stage.value)
        best = max(before.best, merit)
        if merit > before.reference + delta:
            return Standing(stage.value, best, reference=merit)
        return replace(before, best=best, waited=before.waited + 1)


@dataclass(frozen=True)
class TrainingCheckpoint:
    """The contents of a checkpoint, a dict with these keys; five are those of the authors' code."""

    g: dict[str, Tensor]
    d: dict[str, Tensor]
    g_ema: dict[str, Tensor]
    g_optim: dict[str, Any]
    d_optim: dict[str, Any]
    scalers: list[dict[str, Any]]
    """Loss scales of G and D."""
    path_length: float
    step: int
    """Steps done.  Also the position in the data: a step's batch is a function of seed and step."""
    per_epoch: int
    standing: dict[str, Any]
    rng: list[dict[str, Tensor]]
    """States of PyTorch's global random generators, by device, for every process.  Training does
    not draw from them (``model.training.draws``), but code that is added to it may."""
    config: dict[str, Any]
    faces: str = ""
    """Fingerprint of the faces trained on and held out (``model.data.holdout``); empty in
    checkpoints of older versions."""


@dataclass
class TrainingState:
    generator: FullGenerator
    discriminator: nn.Module
    """Of the kind named by ``train.discriminator``."""
    ema: FullGenerator
    """Exponential moving average of the generator, which is validated and served."""
    optimizer_g: Optimizer
    optimizer_d: Optimizer
    scaler_g: GradScaler
    """Loss scaling for float16; it has no effect in other precisions."""
    scaler_d: GradScaler
    path_length: float = 0.0
    """Running mean of path lengths."""
    step: int = 0
    """Steps done, in all stages."""
    standing: Standing = field(default_factory=Standing)

    @classmethod
    def fresh(
        cls, config: Config, device: torch.device = _CPU, *, initial_weights: bool = True
    ) -> TrainingState:
        """Networks with the configured weights, or from scratch.

        A generator from scratch returns its input.  ``initial_weights`` is False if a checkpoint
        will be restored, which does not need those files.  Seeds PyTorch.  Raises WeightsError for
        files that cannot be used.
        """
        train = config.train
        torch.manual_seed(train.seed)
        generator = config.architecture.generator()
        discriminator = adversary_of(train).build(config.architecture)
        if train.initial.g is None or not initial_weights:
            start_as_identity(generator)
        else:
            load_initial_generator(generator, train.initial.g)
        if train.initial.d is not None and initial_weights:
            load_initial_discriminator(discriminator, train.initial.d)
        generator.to(device)
        discriminator.to(device)
        scaled = train.precision == "fp16"
        return cls(
            generator,
            discriminator,
            copy.deepcopy(generator).eval().requires_grad_(False),
            _optimizer(generator, train.lr_g, config),
            _optimizer(discriminator, train.lr_d, config),
            GradScaler(device.type, enabled=scaled),
            GradScaler(device.type, enabled=scaled),
        )

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """Move the average towards the generator: ema = decay * ema + (1 - decay) * generator."""
        averages: list[Tensor] = list(self.ema.parameters())
        values: list[Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(averages, values, 1 - decay)

    def checkpoint(
        self, config: Config, per_epoch: int, rng: list[dict[str, Tensor]], faces: str = ""
    ) -> TrainingCheckpoint:
        """A view of the state, to be written before the next step; ``rng`` is of all processes."""
        return TrainingCheckpoint(
            g=self.generator.state_dict(),
            d=self.discriminator.state_dict(),
            g_ema=self.ema.state_dict(),
            g_optim=self.optimizer_g.state_dict(),
            d_optim=self.optimizer_d.state_dict(),
            scalers=[self.scaler_g.state_dict(), self.scaler_d.state_dict()],
            path_length=self.path_length,
            step=self.step,
            per_epoch=per_epoch,
            standing=asdict(self.standing),
            rng=rng,
            config=config.model_dump(mode="json"),
            faces=faces,
        )

    def restore(self, checkpoint: TrainingCheckpoint, config: Config, process: int = 0) -> None:
        """Take over the state of a checkpoint, including this process's random state.

        ``model.training.resume`` checks whether the run can continue with this configuration.
        """
        self.generator.load_state_dict(checkpoint.g)
        self.discriminator.load_state_dict(checkpoint.d)
        self.ema.load_state_dict(checkpoint.g_ema)
        self.optimizer_g.load_state_dict(checkpoint.g_optim)
        self.optimizer_d.load_state_dict(checkpoint.d_optim)
        for optimizer in (self.optimizer_g, self.optimizer_d):
            optimizer.param_groups[0].update(_settings(config))  # may have been changed by --set
        for scaler, state in zip((self.scaler_g, self.scaler_d), checkpoint.scalers, strict=True):
            if state and scaler.is_enabled():  # the checkpoint may be of another precision
                scaler.load_state_dict(state)
        self.path_length = checkpoint.path_length
        self.step = checkpoint.step
        self.standing = Standing(**checkpoint.standing)
        if process < len(checkpoint.rng):
            set_rng_state(checkpoint.rng[process])


def rng_state() -> dict[str, Tensor]:
    """States of PyTorch's global random generators in this process."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_rng_state(states: dict[str, Tensor]) -> None:
    """Restore what :func:`rng_state` returned, for the devices that exist here."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def write_checkpoint(checkpoint: TrainingCheckpoint, path: Path) -> None:
    """Write a checkpoint atomically.  Raises OSError with the reason."""
    try:
        with written_whole(path) as file:
            torch.save(vars(checkpoint), file)
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} cannot be written: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The message of the operating system, which PyTorch's error hides."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
        cause = cause.__context__
    return str(error).splitlines()[0]


def read_checkpoint(path: Path, *, mapped: bool = False) -> TrainingCheckpoint:
    """Read what :func:`write_checkpoint` wrote.

    With ``mapped``, tensors are read from the file only when they are used.  Raises OSError, or
    ValueError for other files.
    """
    try:
        document = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError:
        raise
    except Exception as error:  # unpickling a broken file raises nearly anything
        raise ValueError(f"{path} is not a checkpoint of model.train") from error
    known = {field.name for field in fields(TrainingCheckpoint)}
    needed = {field.name for field in fields(TrainingCheckpoint) if field.default is MISSING}
    if isinstance(document, dict) and "g_optim" in document and needed - set(document):
        missing = ", ".join(sorted(needed - set(document)))
        raise ValueError(
            f"{path} is from another version or trainer (it has no {missing}): it cannot be "
            "resumed, but train.initial.g and train.initial.d accept its weights"
        )
    if not isinstance(document, dict) or not needed <= set(document) <= known:
        raise ValueError(f"{path} is not a checkpoint of model.train")
    return TrainingCheckpoint(**document)


def _optimizer(network: nn.Module, lr: float, config: Config) -> AdamW:
    # fused: one pass over weights, gradients and moments instead of a dozen
    return AdamW(network.parameters(), lr=lr, fused=True, **_settings(config))


def _settings(config: Config) -> dict[str, Any]:
    """Settings of an optimizer, except for the learning rate, which every step sets."""
    train = config.train
    return {"betas": (train.beta1, train.beta2), "weight_decay": train.weight_decay}
