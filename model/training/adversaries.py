"""The two kinds of discriminator: how each learns, and the losses that it gives to G.

* ``stylegan2``: GPEN's own.  Logistic loss with R1; D sees pictures through DiffAugment; G has an
  adversarial and a feature matching loss (GPEN, section 3.3).
* ``projected``: heads on frozen features and on pixels, with a hinge loss, and spectral norm
  instead of R1.  The features are those of the perceptual loss and are computed once for both, so D
  sees pictures without augmentation; ``data.augmentation`` provides the variety.
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
        """A discriminator with initial weights."""

    def discriminator_loss(
        self, network: nn.Module, restoration: Restoration, step: int
    ) -> tuple[Tensor, Terms]:
        """The loss of D to call ``backward`` on, and values to report."""

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

        With R1, D judges real faces in float32, and its loss on them shares that graph, which saves
        one forward and one backward pass.  R1 is taken with respect to the real pictures, before
        their augmentation (StyleGAN2-ADA).

        The factor keeps R1's mean weight (lazy regularisation, StyleGAN2, appendix B).  Adam's
        settings need no correction, because R1 is part of the ordinary update and not an update of
        its own.
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
        if penalised:  # compiled code has no second derivatives
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
        if config.losses.feature_matching:  # otherwise D's features of real faces are not needed
            with autocast(restoration.target, config.precision), torch.no_grad():
                real_features = self._features(network, vary(restoration.target))
            terms["feature_matching"] = losses.feature_matching_loss(fake_features, real_features)
        return terms

    def _variation(
        self, restoration: Restoration, step: int, purpose: Purpose
    ) -> Callable[[Tensor], Tensor]:
        """The augmentation of what D sees, the same for restored faces and their targets."""
        if not self.config.augment_d:
            return lambda x: x
        rng = generator_for(self.config.seed, step, restoration.part, purpose)
        return variation(restoration.target, rng)


class ProjectedAdversary:
    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def build(self, architecture: Architecture) -> ProjectedDiscriminator:
        """The same for every size, so that a growing generator can keep its discriminator."""
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
    """Means over heads of D's logits for real and for restored faces."""
    return {
        "d_real": torch.stack([x.float().mean() for x in real]).mean(),
        "d_fake": torch.stack([x.float().mean() for x in fake]).mean(),
        "d_real_sign": torch.stack([x.float().sign().mean() for x in real]).mean(),
    }
