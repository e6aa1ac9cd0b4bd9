import pytest
import torch
from pydantic import ValidationError

from model.networks.efficientnet import FeatureDistance, load_features
from model.training import losses
from model.training.generator_losses import Judges, LossConfig, Restoration, restoration_terms


def test_terms_are_those_that_have_a_weight(batch):
    restoration = Restoration(batch.low, batch.high, Judges())
    assert set(restoration_terms(restoration, LossConfig())) == {"content", "detail"}
    (content,) = restoration_terms(restoration, LossConfig(detail=0)).values()
    assert content == losses.content_loss(batch.low, batch.high)


def test_distances_of_other_networks_are_means_over_the_batch(batch):
    judges = Judges(
        lpips=lambda a, b: (a - b).square().mean(dim=(1, 2, 3)),
        identity=lambda a, b: torch.arange(len(a)) + 0.0,
    )
    config = LossConfig(lpips=0.5, lpips_weights="f", identity=2, identity_weights="f")
    terms = restoration_terms(Restoration(batch.low, batch.high, judges), config)
    assert terms["lpips"].item() == pytest.approx((batch.low - batch.high).square().mean().item())
    assert terms["identity"] == 1


def test_every_weight_has_a_term_and_the_reverse(batch):
    """A weight that nothing reads would be ignored in silence."""
    weights = {
        name for name, field in LossConfig.model_fields.items() if isinstance(field.default, float)
    }
    judges = Judges(
        FeatureDistance(load_features("lite0")), *(lambda a, b: (a - b).mean(dim=(1, 2, 3)),) * 2
    )
    every = LossConfig(**dict.fromkeys(weights, 1.0), lpips_weights="f", identity_weights="f")
    terms = restoration_terms(Restoration(batch.low, batch.high, judges), every)
    assert weights - terms.keys() == {"adversarial", "adversarial_pixels", "feature_matching"}
    assert terms.keys() <= weights


def test_perceptual_is_zero_for_the_target_and_pulls_towards_it(batch):
    judges = Judges(FeatureDistance(load_features("lite0")))
    config = LossConfig(content=0, detail=0, perceptual=1)
    same = restoration_terms(Restoration(batch.high, batch.high, judges), config)
    assert same["perceptual"].item() == pytest.approx(0, abs=1e-5)
    restoration = Restoration(batch.low.clone().requires_grad_(), batch.high, judges)
    before = restoration_terms(restoration, config)["perceptual"]
    (gradient,) = torch.autograd.grad(before, restoration.restored)
    nearer = Restoration(restoration.restored.detach() - 20 * gradient, batch.high, judges)
    assert restoration_terms(nearer, config)["perceptual"] < before


def test_the_gradient_goes_on_from_the_restored_picture(batch):
    picture = batch.low.clone().requires_grad_()
    restoration = Restoration(picture * 2, batch.high, Judges())
    torch.autograd.backward((restoration.restored * 3).sum())
    assert picture.grad is None
    restoration.backward()
    assert picture.grad is not None
    assert picture.grad.eq(6).all()


def test_balance_needs_what_it_measures_by():
    with pytest.raises(ValidationError, match="content"):
        LossConfig(balance=True, content=0)
