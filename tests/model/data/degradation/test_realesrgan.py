from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from model.data.degradation import degrade, kernels, realesrgan
from model.data.degradation.kernels import KernelRanges
from model.data.degradation.realesrgan import FirstPass, RealEsrganRecipe, SecondPass
from tests.model.data.degradation.support import Spy, fills, psnr, rng

STILL: dict[str, Any] = {
    "blur_probability": 0,
    "sigma": (0.2, 0.3),
    "resize_probabilities": (0, 0, 1),
    "factor": (1, 1),
    "gaussian": (0, 0),
    "poisson": (0, 0),
    "jpeg": (100, 100),
}
NEUTRAL = RealEsrganRecipe(
    FirstPass(**STILL), SecondPass(**STILL), final_sinc_probability=0, scale=(1, 1)
)
FIRST, SECOND = FirstPass(), SecondPass()


def test_a_recipe_that_does_nothing(image):
    for seed in range(8):
        low = degrade(image, NEUTRAL, rng(seed))
        assert np.abs(low - image).max() < 40 / 255  # JPEG halves the resolution of colour, twice
        assert psnr(low, image) > 35


def test_drawn_values_fill_the_ranges(tall, monkeypatch):
    recipe = RealEsrganRecipe()
    names = ("blur", "jpeg", "resize", "add_gaussian_noise", "add_poisson_noise", "draw_kernel")
    spies = {name: Spy(monkeypatch, realesrgan, name) for name in names}
    final = Spy(monkeypatch, realesrgan, "draw_final_sinc")
    count = 300
    for seed in range(count):
        degrade(tall, recipe, rng(1000 + seed))

    qualities = spies["jpeg"].arguments(1)
    assert len(qualities) == 2 * count
    assert fills(qualities, *FIRST.jpeg)

    sigmas, scales = (spies[f"add_{kind}_noise"].arguments(1) for kind in ("gaussian", "poisson"))
    assert len(sigmas) + len(scales) == 2 * count
    assert 0.42 < len(sigmas) / (2 * count) < 0.58
    assert fills(sigmas, 1, 30)
    assert fills(scales, 0.05, 3)
    keywords = spies["add_gaussian_noise"].keywords + spies["add_poisson_noise"].keywords
    assert 0.32 < np.mean([keyword["grey"] for keyword in keywords]) < 0.48

    assert {call[1] for call in spies["draw_kernel"].calls} == {FIRST.sigma, SECOND.sigma}
    second = [call for call in spies["draw_kernel"].calls if call[1] == SECOND.sigma]
    assert 0.7 < len(second) / count < 0.9
    assert 0.7 < len(final.calls) / count < 0.9

    heights = np.array(spies["resize"].arguments(1)).reshape(count, 4) / 512
    assert fills(list(heights[:, 0]), 0.15, 1.5)
    assert 0.05 < np.mean(heights[:, 0] == 1) < 0.16
    assert 0.62 < np.mean(heights[:, 0] < 1) < 0.78
    assert fills(list(1 / heights[:, 2]), 1, 4)
    relative = heights[:, 1] / heights[:, 2]  # the second pass' own factor
    assert fills(list(relative), 0.3, 1.2)
    assert 0.32 < np.mean(relative < 1 - 1e-9) < 0.48
    assert (heights[:, 3] == 1).all()
    modes = np.array(spies["resize"].arguments(3)).reshape(count, 4)
    assert set(modes[:, :3].ravel()) == {cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC}


def test_the_last_jpeg_and_the_sinc_filter_come_in_both_orders(image, monkeypatch):
    order: list[str] = []

    def note(name: str) -> None:
        real = getattr(realesrgan, name)

        def call(*args):
            order.append(name)
            return real(*args)

        monkeypatch.setattr(realesrgan, name, call)

    note("jpeg")
    note("draw_final_sinc")
    recipe = RealEsrganRecipe(final_sinc_probability=1)
    lasts = []
    for seed in range(60):
        order.clear()
        degrade(image, recipe, rng(seed))
        assert sorted(order) == ["draw_final_sinc", "jpeg", "jpeg"]
        lasts.append(order[-1])
    assert 18 < lasts.count("jpeg") < 42


@pytest.mark.parametrize(
    "changes",
    [
        {"blur_probability": 1.0, "sigma": (2.9, 3)},
        {"resize_probabilities": (0, 1, 0), "factor": (0.25, 1)},
        {"gaussian": (30, 30), "gaussian_probability": 1},
        {"poisson": (3, 3), "gaussian_probability": 0},
        {"jpeg": (30, 30)},
    ],
    ids=["blur", "resize", "gaussian", "poisson", "jpeg"],
)
@pytest.mark.parametrize("which", ["first", "second"])
def test_each_stage_of_each_pass_does_harm(tall, which, changes):
    gaussian = KernelRanges((1, 0, 0, 0, 0, 0), (21,), sinc_probability=0)
    first, second = (STILL | changes, STILL) if which == "first" else (STILL, STILL | changes)
    recipe = replace(
        NEUTRAL, kernels=gaussian, first=FirstPass(**first), second=SecondPass(**second)
    )
    untouched = psnr(degrade(tall, NEUTRAL, rng()), tall)
    harmed = np.mean([psnr(degrade(tall, recipe, rng(seed)), tall) for seed in range(4)])
    assert harmed < untouched - 3


def test_scale_and_final_sinc_do_harm(tall):
    untouched = psnr(degrade(tall, NEUTRAL, rng()), tall)
    assert psnr(degrade(tall, replace(NEUTRAL, scale=(4, 4)), rng()), tall) < untouched - 6
    assert (
        psnr(degrade(tall, replace(NEUTRAL, final_sinc_probability=1), rng()), tall) < untouched - 1
    )


def test_ranges_are_for_512_px(monkeypatch):
    """At half the size pictures are shrunk half as much; noise and JPEG stay."""
    spies = {name: Spy(monkeypatch, realesrgan, name) for name in ("resize", "jpeg")}
    sinc = Spy(monkeypatch, kernels, "circular_lowpass_kernel")
    for seed in range(150):
        degrade(np.full((256, 32, 3), 0.5, dtype=np.float32), RealEsrganRecipe(), rng(seed))
    heights = np.array(spies["resize"].arguments(1)).reshape(150, 4) / 256
    assert fills(list(heights[:, 0]), 0.3, 1.5)
    assert fills(list(1 / heights[:, 2]), 1, 2)
    assert fills(spies["jpeg"].arguments(1), 30, 95)
    assert min(sinc.arguments(0)) > np.pi / 5 * 2
    assert max(sinc.arguments(1)) == 11
