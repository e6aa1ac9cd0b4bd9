"""Signs of trouble in training: what was observed, and what to change.

A rule is a function from the recent rows of a run to a warning, or None.  Thresholds are those that
the field uses: StyleGAN2-ADA's for the sign statistic, and common experience with GANs for the
others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from model.training.config import TrainConfig
from model.training.records import HealthRecord, Record, TrainRecord, ValidationRecord
from model.training.schedule import Stage

_TRAINED, _VALIDATED = 20, 4
_SIGN_IMAGES = 250
"""Number of faces over which StyleGAN2-ADA takes the mean sign: 4 batches of 64."""


@dataclass(frozen=True)
class Window:
    """The recent rows of a run, oldest first."""

    config: TrainConfig
    trained: tuple[TrainRecord, ...] = ()
    """Up to 20 rows of the latest stage, or all since the first of ``validated``."""
    validated: tuple[ValidationRecord, ...] = ()
    """Up to 4 rows of the latest stage."""

    def with_row(self, row: Record) -> Window:
        """The window after one more row; rows of other kinds are ignored."""
        if isinstance(row, ValidationRecord):
            same = tuple(old for old in self.validated if old.stage is row.stage)
            return replace(self, validated=(*same, row)[-_VALIDATED:])
        if isinstance(row, TrainRecord):
            same_stage = [old for old in self.trained if old.stage is row.stage]
            since = self.validated[0].step if self.validated else row.step
            earlier = [old for old in same_stage[:-_TRAINED] if old.step >= since]
            return replace(self, trained=(*earlier, *same_stage[-_TRAINED:], row))
        return self

    @property
    def joint(self) -> bool:
        """Whether both networks learn.  In earlier stages D is expected to win."""
        return bool(self.trained) and self.trained[-1].stage is Stage.JOINT

    @property
    def warming_up(self) -> bool:
        """Whether D learns alone."""
        return bool(self.trained) and self.trained[-1].stage is Stage.WARMUP

    def values(self, name: str) -> list[float]:
        """A value of the training rows that report it."""
        return [row.numbers()[name] for row in self.trained if name in row.numbers()]


@dataclass(frozen=True)
class Rule:
    name: str
    check: Callable[[Window], str | None]


def vanishing_d_loss(window: Window) -> str | None:
    """A D whose loss is 0 has won; healthy is well under chance (1.386) and well over 0."""
    losses = window.values("d")[-3:]
    if not window.joint or len(losses) < 3 or max(losses) > 0.05:
        return None
    cure = (
        "Raise train.lr_d or train.gp_lambda (times 2 to 4), or set train.augment_d."
        if window.config.discriminator == "stylegan2"
        else "Lower train.lr_d, or set data.augmentation to strong."
    )
    return f"D's loss has gone to {losses[-1]:.2g}: G has nothing to learn from it any more. {cure}"


def memorising_d(window: Window) -> str | None:
    """Mean sign of D(real): StyleGAN2-ADA aims at 0.6; 1 means that D knows every face.

    It needs some hundreds of faces, and the logistic loss: the hinge loss of the ``projected``
    discriminator moves logits to 1 and beyond in healthy runs too.
    """
    signs = window.values("d_real_sign")[-5:]
    if not window.joint or window.config.discriminator != "stylegan2":
        return None
    images = sum(row.steps for row in window.trained[-5:]) * window.config.batch_size
    if len(signs) < 5 or images < _SIGN_IMAGES or min(signs) < 0.95:
        return None
    return (
        f"the mean sign of D(real) is {signs[-1]:.2f} (about 0.6 is healthy): D knows the training "
        "faces by heart. Set train.augment_d, raise train.gp_lambda or train.lr_d, or take more "
        "faces."
    )


def exploding_penalty(window: Window) -> str | None:
    """R1 is usually near 0, with spikes; a mean in the hundreds leads to blobs."""
    penalties = window.values("gradient_penalty")[-3:]
    if len(penalties) < 3 or min(penalties) < 100:
        return None
    return (
        f"the gradient penalty is {penalties[-1]:.3g} (healthy: near 0), which leads to artefacts. "
        "Lower train.lr_g to 0.0001, and train.lr_d by the same factor."
    )


def artefacts(window: Window) -> str | None:
    """Sharpness far above the original's is not detail but blobs, grids or ringing."""
    rows = window.validated
    if not window.joint or len(rows) < 2 or min(row.sharpness for row in rows[-2:]) < 2:
        return None
    return (
        f"restored faces are {rows[-1].sharpness:.1f} times as sharp as the originals: look for "
        "artefacts in samples/. Lower train.lr_g to 0.0001, or train.losses.adversarial."
    )


def runaway_logits(window: Window) -> str | None:
    """Logits grow without bound if D is not regularised, while its loss stays small."""
    logits = [*window.values("d_real")[-1:], *window.values("d_fake")[-1:]]
    largest = max(map(abs, logits), default=0.0)
    if largest < 1000:
        return None
    return (
        f"D's logits have run away to {largest:.3g} (a few units are healthy). Raise "
        "train.gp_lambda, lower train.lr_d, and go back to an earlier checkpoint."
    )


def large_gradients(window: Window) -> str | None:
    """The norm of either network's gradient before clipping, in the mean over a row's steps."""
    for name, network in (("grad_norm_g", "G"), ("grad_norm_d", "D")):
        norms = window.values(name)[-2:]
        if len(norms) == 2 and min(norms) > 100:
            return (
                f"the norm of {network}'s gradient is {norms[-1]:.3g}, over 100 before clipping. "
                f"Lower train.lr_{network.lower()} by half."
            )
    return None


def loss_jump(window: Window) -> str | None:
    """Training rarely recovers from a jump to hundreds."""
    for name in ("d", "adversarial", "content"):
        *before, last = window.values(name) or [0.0]
        if before and last > 100 and last > 10 * max(before):
            return (
                f"the loss {name!r} has jumped from {before[-1]:.3g} to {last:.3g}. Go back to an "
                "earlier checkpoint (--resume FILE) with lower learning rates."
            )
    return None


def fooled_d(window: Window) -> str | None:
    """G gets better at D and worse at faces.

    PSNR alone may fall while faces get better, as it rewards blur; so where a perceptual distance
    is measured, it has to get worse as well.
    """
    rows = window.validated
    if not window.joint or len(rows) < 3:
        return None
    since = rows[-3].step
    losses = [row.losses.get("adversarial") for row in window.trained if row.step >= since]
    known = [loss for loss in losses if loss is not None]
    psnr = [row.psnr for row in rows[-3:]]
    if len(known) < 2 or not psnr[0] - psnr[-1] > 0.3 or not _falls(psnr):
        return None
    if known[0] - known[-1] < 0.1 * abs(known[0]):
        return None
    distances = [row.lpips if row.lpips is not None else row.perceptual for row in rows[-3:]]
    first, last = distances[0], distances[-1]
    if first is not None and last is not None and last <= first:
        return None
    return (
        f"G's adversarial loss falls ({known[0]:.3g} to {known[-1]:.3g}) while PSNR falls too "
        f"({psnr[0]:.2f} to {psnr[-1]:.2f} dB): D takes garbage for faces. Lower "
        "train.losses.adversarial, or raise train.lr_d."
    )


def over_smoothing(window: Window) -> str | None:
    """PSNR rewards the mean of all possible originals, which is blurred."""
    rows = window.validated[-3:]
    if not window.joint or len(rows) < 3 or rows[-1].sharpness >= 1:
        return None
    psnr, sharpness = [row.psnr for row in rows], [row.sharpness for row in rows]
    rises = psnr[-1] - psnr[0] > 0.02 and _falls(psnr[::-1])
    if not rises or not _falls(sharpness) or sharpness[-1] > 0.9 * sharpness[0]:
        return None
    return (
        f"PSNR rises to {psnr[-1]:.2f} dB while sharpness falls from {sharpness[0]:.3g} to "
        f"{sharpness[-1]:.3g} of the originals': G over-smooths. Raise train.losses.adversarial or "
        "feature_matching, or lower train.losses.content."
    )


def learning_rate_at_its_floor(window: Window) -> str | None:
    """The learning rate has fallen to its minimum while G was still getting better.

    A rate that starts near its minimum says nothing about that.
    """
    floor, start = window.config.lr_min, window.config.lr_g
    psnr = [row.psnr for row in window.validated]
    if not window.joint or floor > start / 2 or len(psnr) < 3 or psnr[-1] - psnr[-3] < 0.05:
        return None
    last = window.trained[-1]
    if last.lr_g is None or last.lr_g > 1.05 * floor or last.progress < 0.9:
        return None
    return (
        f"G's learning rate is at its floor, {floor:g}, and PSNR still rises "
        f"({psnr[-3]:.2f} to {psnr[-1]:.2f} dB): the schedule ends too soon. In the next run, "
        "raise train.num_epochs (or num_steps, num_images)."
    )


def idle_warm_up(window: Window) -> str | None:
    """A D that has won learns nothing more that G could use, and G is fixed meanwhile."""
    losses = window.values("d")[-3:]
    remaining = window.trained[-1].stage_left or 0 if window.warming_up else 0
    if remaining < 500 or len(losses) < 3 or max(losses) > 0.1:
        return None
    return (
        f"D tells restored faces from real ones already (its loss is {losses[-1]:.2g}), and would "
        f"learn alone for {remaining} more steps, until it memorises the training faces. --resume "
        "with a lower train.warmup_steps starts the joint stage at once."
    )


def blind_d(window: Window) -> str | None:
    """After a warm-up that ends at chance, G would learn from a D that knows nothing."""
    chance = 2.0 if window.config.discriminator == "projected" else 1.386
    losses = window.values("d")
    if not window.warming_up or len(losses) < 10 or min(losses[-5:]) < 0.98 * chance:
        return None
    cure = "" if window.config.discriminator == "projected" else ", or lower train.gp_lambda"
    return (
        f"D's loss is {losses[-1]:.4g} after {len(losses)} reports of warm-up, which is chance "
        f"({chance:g}): it does not learn. Raise train.lr_d{cure}."
    )


RULES = tuple(
    Rule(check.__name__, check)
    for check in (
        vanishing_d_loss,
        memorising_d,
        exploding_penalty,
        artefacts,
        runaway_logits,
        large_gradients,
        loss_jump,
        fooled_d,
        over_smoothing,
        learning_rate_at_its_floor,
        idle_warm_up,
        blind_d,
    )
)


def findings(window: Window) -> dict[str, str]:
    """The warnings of all rules that have one, by the name of the rule."""
    warnings = {rule.name: rule.check(window) for rule in RULES}
    return {name: warning for name, warning in warnings.items() if warning is not None}


@dataclass
class Watch:
    """Follows the rows of a run, and reports each trouble once until it has passed."""

    window: Window

    @classmethod
    def after(cls, config: TrainConfig, rows: Sequence[Record]) -> Watch:
        """The watch of a run that has written these rows."""
        watch = cls(Window(config))
        for row in rows:
            watch.window = watch.window.with_row(row)
        return watch

    def see(self, row: TrainRecord | ValidationRecord) -> list[HealthRecord]:
        """The warnings that are new with this row."""
        known = findings(self.window).keys()
        self.window = self.window.with_row(row)
        return [
            HealthRecord(step=row.step, time=time.time(), rule=name, message=warning)
            for name, warning in findings(self.window).items()
            if name not in known
        ]


def _falls(values: Sequence[float]) -> bool:
    return all(later < sooner for sooner, later in pairwise(values))
