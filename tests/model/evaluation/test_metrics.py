import math

import cv2
import numpy as np
import pytest
import torch

from model.evaluation import metrics
from model.evaluation.metrics import (
    Appearance,
    Scores,
    look_at_each,
    score,
    score_each,
    summarise,
)
from model.levels import to_levels


@pytest.fixture
def pictures(faces) -> torch.Tensor:
    """(6, 3, 64, 64) in [-1, 1]."""
    return torch.from_numpy(faces).permute(0, 3, 1, 2) / 127.5 - 1


def blurred(faces, sigma: float) -> torch.Tensor:
    soft = np.stack([cv2.GaussianBlur(face, (0, 0), sigma) for face in faces])
    return torch.from_numpy(soft).permute(0, 3, 1, 2) / 127.5 - 1


def test_psnr_is_the_mean_of_the_formula(faces, pictures):
    noise = (
        np.random.default_rng(0).integers(-20, 21, faces.shape)
        * np.arange(1, 7)[:, None, None, None]
    )
    noisy = (faces.astype(int) + noise).clip(0, 255)
    errors = ((noisy - faces.astype(int)) ** 2).mean(axis=(1, 2, 3))
    expected = np.mean(10 * np.log10(255**2 / errors))
    restored = torch.from_numpy(noisy).permute(0, 3, 1, 2) / 127.5 - 1
    assert score(restored.float(), pictures).psnr == pytest.approx(expected, rel=1e-5)


def test_identical_pictures(pictures):
    scores = score(pictures, pictures)
    assert math.isinf(scores.psnr)
    assert scores.ssim == pytest.approx(1, abs=1e-6)
    assert scores.sharpness == 1


def test_differences_below_half_a_level_are_none(pictures):
    assert math.isinf(score(pictures + 0.4 / 127.5, pictures).psnr)


def test_blur_costs_sharpness(faces, pictures):
    mild, strong = (score(blurred(faces, sigma), pictures) for sigma in (0.7, 2))
    assert strong.sharpness < mild.sharpness < 1
    assert strong.ssim < mild.ssim < 1
    assert strong.psnr < mild.psnr


def test_noise_is_sharper_than_the_target(pictures):
    torch.manual_seed(0)
    assert score(pictures + 0.3 * torch.randn_like(pictures), pictures).sharpness > 1


def test_sharpness_is_the_median_of_laplacian_variances(faces, pictures):
    soft = blurred(faces, 1)
    luma = np.array([0.299, 0.587, 0.114], dtype=np.float32)

    def variance(picture: torch.Tensor) -> float:
        grey = to_levels(picture).permute(1, 2, 0).numpy() @ luma
        return float(cv2.Laplacian(grey, cv2.CV_32F, ksize=1)[1:-1, 1:-1].var(ddof=1))

    expected = [variance(a) / variance(b) for a, b in zip(soft, pictures, strict=True)]
    assert score(soft[:5], pictures[:5]).sharpness == pytest.approx(
        np.median(expected[:5]), rel=1e-4
    )


def test_flat_targets_do_not_divide_by_zero():
    flat = torch.zeros(1, 3, 16, 16)
    assert score(flat, flat).sharpness == 0


def test_for_json():
    assert Scores(1.0, 2.0, 3.0).as_dict() == {"psnr": 1.0, "ssim": 2.0, "sharpness": 3.0}
    assert Appearance(found=1.0).as_dict() == {"found": 1.0}


def test_what_cannot_be_measured_of_a_picture_is_left_out(pictures):
    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.tensor([math.nan, *range(1, len(a))])

    scores = score_each(pictures, pictures, {"landmarks": distance})
    assert [each.landmarks for each in scores] == [None, 1, 2, 3, 4, 5]
    assert summarise(scores).landmarks == 3
    assert summarise(scores[:1]).landmarks is None
    assert summarise(scores).identity is None


def test_pictures_by_themselves(pictures):
    looks = look_at_each(pictures[:2], {"niqe": lambda x: x.flatten(1).amin(1)})
    assert [each.niqe for each in looks] == pictures[:2].flatten(1).amin(1).tolist()
    assert summarise(looks).found is None
    assert look_at_each(pictures[:2], {}) == [Appearance(), Appearance()]


def test_a_broken_restoration_is_not_left_out(pictures):
    """NaN is what a network gives that training has broken; means must show it."""
    broken = pictures.clone()
    broken[0] = math.nan
    assert math.isnan(score(broken, pictures).psnr)


def test_scores_do_not_depend_on_how_many_are_compared_at_once(faces, pictures, monkeypatch):
    seen = []

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append(len(a))
        return (a - b).abs().mean(dim=(1, 2, 3))

    soft = blurred(faces, 1)
    whole = score_each(soft, pictures, {"perceptual": distance})
    monkeypatch.setattr(metrics, "_CHUNK_PIXELS", 4 * 64 * 64)
    parts = score_each(soft, pictures, {"perceptual": distance})
    assert seen == [6, 4, 2]
    for part, each in zip(parts, whole, strict=True):
        assert part.as_dict() == pytest.approx(each.as_dict(), rel=1e-5)


@pytest.mark.parametrize(("count", "size"), [(9, 512), (2, 1024), (300, 64)])
def test_memory_does_not_grow_with_the_number_of_pictures(count, size, monkeypatch):
    """SSIM takes most of it: 150 bytes for each value."""
    seen = []

    def ssim(a: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        seen.append(a.numel())
        return torch.ones(len(a))

    monkeypatch.setattr(metrics, "structural_similarity_index_measure", ssim)
    flat = torch.zeros(1, 3, size, size).expand(count, -1, -1, -1)
    assert len(score_each(flat, flat)) == count
    assert sum(seen) == flat.numel()
    assert max(seen) <= 2**20
