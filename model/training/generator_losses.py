"""The losses of G: their terms, their weights, and the networks that they use.

To add a loss, add a weight to :class:`LossConfig` and a row of the same name to ``_TERMS``.  It is
then trained with, logged, drawn and balanced like the others.  Terms that need a discriminator are
in ``model.training.adversaries``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor

from model.evaluation.metrics import Distance
from model.evaluation.perceptual import load_distances
from model.networks.efficientnet import FeatureDistance, load_features
from model.section import Section
from model.training import losses
from model.training.precision import Precision, autocast

Terms = dict[str, Tensor]
"""Losses by the name of their weight in LossConfig; scalars."""


class LossConfig(Section):
    """Weights of G's losses."""

    balance: bool = False
    """If true, a weight is not a plain factor but the size of the term's gradient at the restored
    picture, relative to the gradient of ``content`` (``model.training.balance``)."""
    content: NonNegativeFloat = 1.0
    """L1."""
    detail: NonNegativeFloat = 1.0
    """L1 on Laplacians."""
    perceptual: NonNegativeFloat = 0.0
    """L1 between features of EfficientNet-lite0, from the extra [train]."""
    adversarial: NonNegativeFloat = 1.0
    adversarial_pixels: NonNegativeFloat = 0.0
    """For the projected discriminator's head on pixels; ``adversarial`` is for its other heads."""
    feature_matching: NonNegativeFloat = 0.02
    """On the features of the StyleGAN2 discriminator (GPEN, section 3.3)."""
    lpips: NonNegativeFloat = 0.0
    """Perceptual distance (Zhang et al., CVPR 2018); needs ``lpips_weights``."""
    lpips_weights: Path | None = None
    """``vgg16-397923af.pth`` of torchvision, or its name in ``gpen weights list``."""
    identity: NonNegativeFloat = 0.0
    """1 - cosine of ArcFace embeddings; needs ``identity_weights``."""
    identity_weights: Path | None = None
    """``model_ir_se50.pth`` of GPEN's repository on ModelScope, or its name in the list."""

    def weight(self, term: str) -> float:
        """The weight of a term."""
        return float(getattr(self, term))

    @model_validator(mode="after")
    def _weights_are_given(self) -> Self:
        if self.lpips and self.lpips_weights is None:
            raise ValueError(
                "lpips needs lpips_weights: vgg16-397923af.pth, or vgg16-imagenet once "
                "`gpen weights download vgg16-imagenet` has fetched it"
            )
        if self.identity and self.identity_weights is None:
            raise ValueError(
                "identity needs identity_weights: model_ir_se50.pth, or arcface-ir-se50 once "
                "`gpen weights download arcface-ir-se50` has fetched it"
            )
        if self.balance and not self.content:
            raise ValueError("balance compares the other terms with content, whose weight is 0")
        return self


@dataclass(frozen=True)
class Judges:
    """Frozen networks that judge restored faces; None for those that no term needs."""

    perceptual: FeatureDistance | None = None
    """The projected discriminator uses its features too."""
    lpips: Distance | None = None
    identity: Distance | None = None

    @classmethod
    def load(cls, config: LossConfig, device: torch.device, *, projected: bool) -> Judges:
        """The networks that the configured terms and discriminator need.  Raises WeightsError."""
        distances = load_distances(
            config.lpips_weights if config.lpips else None,
            config.identity_weights if config.identity else None,
            device,
        )
        perceptual = None
        if config.perceptual or projected:
            perceptual = FeatureDistance(load_features("lite0")).to(device)
        return cls(perceptual, distances.get("lpips"), distances.get("identity"))


class Restoration:
    """A restored micro-batch and its target.  Features of both are computed once, when needed.

    ``restored`` (N, 3, R, R) is detached from the graph of G: losses are differentiated down to it,
    and :meth:`backward` continues through G.  ``part`` is the number of the micro-batch in the
    step's batch.
    """

    def __init__(
        self,
        restored: Tensor,
        target: Tensor,
        judges: Judges,
        precision: Precision = "fp32",
        part: int = 0,
    ) -> None:
        self._graph = restored
        self.restored = restored.detach().requires_grad_(restored.requires_grad)
        self.target = target
        self.judges = judges
        self.part = part
        self._precision = precision

    @cached_property
    def features(self) -> list[Tensor]:
        """Of the restored faces, at strides 2, 4, 8, 16 and 32."""
        return self._look_at(self.restored)

    @cached_property
    def target_features(self) -> list[Tensor]:
        with torch.no_grad():
            return self._look_at(self.target)

    def look(self) -> None:
        """Compute the features of both now."""
        _ = self.features, self.target_features

    def backward(self) -> None:
        """Propagate the gradient in ``restored.grad`` through G."""
        assert self.restored.grad is not None
        self._graph.backward(self.restored.grad)  # type: ignore[no-untyped-call]
        self.restored.grad = None

    def _look_at(self, pictures: Tensor) -> list[Tensor]:
        assert self.judges.perceptual is not None
        with autocast(pictures, self._precision):
            features: list[Tensor] = self.judges.perceptual.features(pictures)
        return features


def _perceptual(r: Restoration) -> Tensor:
    assert r.judges.perceptual is not None
    return r.judges.perceptual.between(r.features, r.target_features).mean()


def _lpips(r: Restoration) -> Tensor:
    assert r.judges.lpips is not None
    return r.judges.lpips(r.restored, r.target).mean()


def _identity(r: Restoration) -> Tensor:
    assert r.judges.identity is not None
    return r.judges.identity(r.restored, r.target).mean()


_TERMS: dict[str, Callable[[Restoration], Tensor]] = {
    "content": lambda r: losses.content_loss(r.restored, r.target),
    "detail": lambda r: losses.detail_loss(r.restored, r.target),
    "perceptual": _perceptual,
    "lpips": _lpips,
    "identity": _identity,
}


def restoration_terms(restoration: Restoration, config: LossConfig) -> Terms:
    """The terms that have a weight and need no discriminator, unweighted."""
    return {name: term(restoration) for name, term in _TERMS.items() if config.weight(name)}
