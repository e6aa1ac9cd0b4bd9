from collections import Counter

import numpy as np
import pytest

from model.data.degradation import kernels
from model.data.degradation.kernels import SHAPES, KernelRanges, draw_final_sinc, draw_kernel
from tests.model.data.degradation.support import Spy, fills, rng

RANGES = KernelRanges()
SIGMA = (0.2, 3.0)


def test_published_probabilities():
    assert len(RANGES.probabilities) == len(SHAPES) == len(set(SHAPES)) == 6


@pytest.mark.parametrize("seed", range(30))
def test_kernels_blur_and_no_more(seed):
    kernel = draw_kernel(RANGES, SIGMA, 512, rng(seed))
    assert kernel.dtype == np.float32
    assert kernel.sum() == pytest.approx(1, abs=1e-4)
    assert kernel.shape == (len(kernel), len(kernel))
    assert len(kernel) in RANGES.sizes
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)  # or pictures would move


def test_drawn_values_fill_the_ranges(monkeypatch):
    gaussian = Spy(monkeypatch, kernels, "bivariate_Gaussian")
    generalized = Spy(monkeypatch, kernels, "bivariate_generalized_Gaussian")
    plateau = Spy(monkeypatch, kernels, "bivariate_plateau")
    sinc = Spy(monkeypatch, kernels, "circular_lowpass_kernel")
    count = 3000
    sizes = {len(draw_kernel(RANGES, SIGMA, 512, rng(seed))) for seed in range(count)}
    assert sizes == set(RANGES.sizes)

    kinds: Counter[tuple[str, bool]] = Counter()
    for name, spy in (("gaussian", gaussian), ("generalized", generalized), ("plateau", plateau)):
        kinds.update((name, keyword["isotropic"]) for keyword in spy.keywords)
        for axis in (1, 2):
            assert fills(spy.arguments(axis), *SIGMA)
        assert fills(spy.arguments(3), -np.pi, np.pi)
    rest = count * (1 - RANGES.sinc_probability)
    for kind, probability in zip(SHAPES, RANGES.probabilities, strict=True):
        spread = np.sqrt(rest * probability)
        assert abs(kinds[kind] - rest * probability) < 4 * spread, kind

    assert fills(generalized.arguments(4), *RANGES.generalized_beta)
    assert fills(plateau.arguments(4), *RANGES.plateau_beta)
    assert 0.4 < np.mean(np.array(generalized.arguments(4)) < 1) < 0.6
    assert len(sinc.calls) == pytest.approx(count * RANGES.sinc_probability, rel=0.25)
    small = [cutoff for cutoff, size in sinc.calls if size < 13]
    large = [cutoff for cutoff, size in sinc.calls if size >= 13]
    assert fills(small, *RANGES.cutoff)
    assert fills(large, *RANGES.cutoff_of_large)
    low = {size for cutoff, size in sinc.calls if cutoff < RANGES.cutoff[0]}
    assert low == {13, 15, 17, 19, 21}


def test_the_final_sinc_rings(monkeypatch):
    sinc = Spy(monkeypatch, kernels, "circular_lowpass_kernel")
    drawn = [draw_final_sinc(RANGES, 512, rng(seed)) for seed in range(100)]
    assert fills(sinc.arguments(0), *RANGES.cutoff)
    assert {len(kernel) for kernel in drawn} == set(RANGES.sizes)
    assert all(kernel.min() < 0 for kernel in drawn)
    assert all(kernel.sum() == pytest.approx(1, abs=1e-4) for kernel in drawn)
