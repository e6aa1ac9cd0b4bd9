"""The two kinds of discriminator: how each learns, and what G is told by it.

* ``stylegan2``: GPEN's own, logistic loss with R1, seen through DiffAugment; G's adversarial and
  feature matching losses (GPEN, section 3.3)
* ``projected``: heads on frozen features and on pixels, hinge loss, spectral norm instead of R1.
  The features are those of the perceptual loss, computed once for both: so D sees what G made and
  the target as they are, and variety is the data's (``data.augmentation``)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from model.networks import Architecture, Discriminator
from model.networks.projected import ProjectedDiscriminator
from model.training import losses
from model.training.config import TrainConfig
from model.training.draws import Purpose, generator_for, variation
from model.training.generator_losses import Restoration, Terms
from model.training.precision import autocast


class Adversary(Protocol):
    """A kind of discriminator; ``restoration`` is the micro-batch that it judges."""

    def build(self, architecture: Architecture) -> nn.Module:
        """A fresh discriminator."""

    def discriminator_loss(
        self, network: nn.Module, restoration: Restoration, step: int
    ) -> tuple[Tensor, Terms]:
        """The loss of D to call ``backward`` on, and what there is to report of it."""

    def generator_terms(self, network: nn.Module, restoration: Restoration, step: int) -> Terms:
        """The terms of G's loss that have a weight, unweighted, by the names of LossConfig."""


class StyleGan2Adversary:
    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self._features: Callable[[Discriminator, Tensor], list[Tensor]] = (
            torch.compile(Discriminator.features)
            if config.compile
            else lambda network, x: network.features(x)
        )

    def build(self, architecture: Architecture) -> Discriminator:
        return architecture.discriminator()

    def discriminator_loss(
        self, network: nn.Module, restoration: Restoration, step: int
    ) -> tuple[Tensor, Terms]:
        """Logistic loss; every ``gp_interval`` steps with R1, times its interval.

        With R1, D judges real faces in float32, and its loss on them shares that graph: one forward
        and one backward pass less.  R1 is that of the real pictures themselves, through the
        variation that D sees them by (StyleGAN2-ADA).

        The interval keeps R1's mean weight (lazy regularisation, StyleGAN2, appendix B).  As it is
        part of the same update, Adam's settings need no correction, as they do where it is an
        update of its own.
        """
        assert isinstance(network, Discriminator)
        config, real = self.config, restoration.target
        vary = self._variation(restoration, step, Purpose.DISCRIMINATOR)
        fake = vary(restoration.restored.detach())
        penalised = config.use_gradient_penalty and step % config.gp_interval == 0
        with autocast(fake, config.precision):
            fake_logits = network.score(self._features(network, fake)).float()
            if not penalised:
                real_logits = network.score(self._features(network, vary(real))).float()
        if penalised:  # not compiled: that has no second derivatives
            real = real.detach().float().requires_grad_(True)
            real_logits = network(vary(real))
        loss = losses.discriminator_loss(real_logits, fake_logits)
        values = {"d": loss} | _opinions([real_logits], [fake_logits])
        if penalised:
            penalty = losses.gradient_penalty(real_logits, real)
            loss = loss + config.r1_weight / 2 * config.gp_interval * penalty
            values["gradient_penalty"] = penalty
        return loss, values

    def generator_terms(self, network: nn.Module, restoration: Restoration, step: int) -> Terms:
        assert isinstance(network, Discriminator)
        config, terms = self.config, {}
        vary = self._variation(restoration, step, Purpose.GENERATOR)
        with autocast(restoration.restored, config.precision):
            fake_features = self._features(network, vary(restoration.restored))
            fake_logits = network.score(fake_features)
        terms["adversarial"] = losses.generator_loss(fake_logits.float())
        if config.losses.feature_matching:  # or D need not look at the real faces once more
            with autocast(restoration.target, config.precision), torch.no_grad():
                real_features = self._features(network, vary(restoration.target))
            terms["feature_matching"] = losses.feature_matching_loss(fake_features, real_features)
        return terms

    def _variation(
        self, restoration: Restoration, step: int, purpose: Purpose
    ) -> Callable[[Tensor], Tensor]:
        """What D's view is varied by, the same for restored faces and their targets."""
        if not self.config.augment_d:
            return lambda x: x
        rng = generator_for(self.config.seed, step, restoration.part, purpose)
        return variation(restoration.target, rng)


class ProjectedAdversary:
    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def build(self, architecture: Architecture) -> ProjectedDiscriminator:
        """The same for every size, so that it can be kept where the generator grows."""
        return ProjectedDiscriminator()

    def discriminator_loss(
        self, network: nn.Module, restoration: Restoration, step: int
    ) -> tuple[Tensor, Terms]:
        fake, real = restoration.restored.detach(), restoration.target
        features = [
            torch.cat([a.detach(), b])
            for a, b in zip(restoration.features[1:], restoration.target_features[1:], strict=True)
        ]
        with autocast(fake, self.config.precision):
            logits = network(features, torch.cat([fake, real]))
        halves = [x.chunk(2) for x in (*logits.features, logits.pixels)]
        fakes, reals = [pair[0] for pair in halves], [pair[1] for pair in halves]
        loss = losses.hinge_discriminator_loss(reals[:-1], fakes[:-1])
        pixels = losses.hinge_discriminator_loss(reals[-1:], fakes[-1:])
        return loss + pixels, {"d": loss, "d_pixels": pixels} | _opinions(reals[:-1], fakes[:-1])

    def generator_terms(self, network: nn.Module, restoration: Restoration, step: int) -> Terms:
        with autocast(restoration.restored, self.config.precision):
            logits = network(restoration.features[1:], restoration.restored)
        terms = {"adversarial": losses.hinge_generator_loss(logits.features)}
        if self.config.losses.adversarial_pixels:
            terms["adversarial_pixels"] = losses.hinge_generator_loss([logits.pixels])
        return terms


def adversary_of(config: TrainConfig) -> Adversary:
    """The kind that ``train.discriminator`` names."""
    if config.discriminator == "projected":
        return ProjectedAdversary(config)
    return StyleGan2Adversary(config)


def _opinions(real: list[Tensor], fake: list[Tensor]) -> Terms:
    """Means over heads: what D says of real and of restored faces."""
    return {
        "d_real": torch.stack([x.float().mean() for x in real]).mean(),
        "d_fake": torch.stack([x.float().mean() for x in fake]).mean(),
        "d_real_sign": torch.stack([x.float().sign().mean() for x in real]).mean(),
    }
