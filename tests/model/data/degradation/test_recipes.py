"""What holds for every recipe."""

import pickle
import random

import cv2
import numpy as np
import pytest

from model.data.degradation import RECIPES, FloatImage, degrade
from model.data.degradation.operations import LUMA, mix_channels
from tests.model.data.degradation.support import psnr, rng

all_recipes = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


@all_recipes
def test_a_seed_gives_a_picture(image, recipe):
    first = degrade(image, recipe, rng(5))
    degrade(image, recipe, rng(7))
    assert np.array_equal(first, degrade(image.copy(), recipe, rng(5)))
    assert not np.array_equal(first, degrade(image, recipe, rng(6)))


@all_recipes
def test_global_random_state_is_neither_used_nor_changed(image, recipe):
    pictures = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = global_state()
        pictures.append([degrade(image, recipe, rng(i)) for i in range(12)])
        assert global_state() == before
    assert np.array_equal(pictures[0], pictures[1])


def global_state() -> bytes:
    return pickle.dumps((random.getstate(), np.random.get_state()))  # noqa: NPY002


@all_recipes
@pytest.mark.parametrize("shape", [(48, 40, 3), (51, 67, 3), (5, 4, 3), (1, 1, 3)])
def test_shape_type_and_levels(recipe, shape):
    image = rng().random(shape, dtype=np.float32)
    for seed in range(12):
        low = degrade(image, recipe, rng(seed))
        assert low.shape == shape
        assert low.dtype == np.float32
        levels = low * np.float32(255)
        assert np.abs(levels - levels.round()).max() < 1e-4
        assert low.min() >= 0
        assert low.max() <= 1


@all_recipes
def test_the_input_is_left_alone(image, recipe):
    before = image.copy()
    for seed in range(12):
        degrade(image, recipe, rng(seed))
    assert np.array_equal(image, before)


@all_recipes
@pytest.mark.parametrize("size", [96, 91])  # 91 is divisible by none of the scales
def test_nothing_moves(recipe, size):
    high = spot(size)
    shifts = [shift_between(high, degrade(high, recipe, rng(seed))) for seed in range(120)]
    assert np.abs(np.median(shifts, axis=0)).max() < 0.1


def test_a_move_would_be_seen():
    high = spot(96)
    moved = cv2.warpAffine(high, np.array([[1, 0, 0.5], [0, 1, 0.0]]), (96, 96))
    low = np.asarray(moved, dtype=np.float32)
    assert shift_between(high, low) == pytest.approx([0.5, 0], abs=0.05)


def spot(size: int) -> FloatImage:
    """A picture (size, size, 3) that is its own mirror image, as blur must leave it."""
    axis = (np.arange(size) - (size - 1) / 2) / (size / 8)
    profile = np.exp(-(axis**2) / 2)
    picture = 0.3 + 0.4 * np.outer(profile, profile)
    return np.repeat(picture[..., None], 3, axis=2).astype(np.float32)


def shift_between(high: FloatImage, low: FloatImage) -> tuple[float, float]:
    """By how many pixels (x, y) ``low`` is moved, by least squares, contrast and offset aside."""
    a, b = (mix_channels(half, LUMA)[..., 0] for half in (high, low))
    down, right = np.gradient(a)
    columns = [-right, -down, a, np.ones_like(a)]
    design = np.stack([column.ravel() for column in columns], axis=1)
    solution, *_ = np.linalg.lstsq(design, (b - a).ravel())
    return float(solution[0]), float(solution[1])


@all_recipes
def test_colours_stay_on_average(image, recipe):
    """Noise clips at white and black, and no more: means over many pictures stay."""
    means = np.array([degrade(image, recipe, rng(seed)).mean((0, 1)) for seed in range(40)])
    assert np.abs(means.mean(0) - image.mean((0, 1))).max() * 255 < 3


@all_recipes
def test_there_is_no_border(recipe):
    """A flat picture stays flat: its rim is as its middle."""
    flat = np.full((64, 64, 3), 0.5, dtype=np.float32)
    rim = np.ones((64, 64), dtype=bool)
    rim[4:-4, 4:-4] = False
    lows = [degrade(flat, recipe, rng(seed)) for seed in range(30)]
    difference = np.mean([low[rim].mean() - low[~rim].mean() for low in lows])
    assert abs(difference) * 255 < 1.5


def test_strengths_are_ordered(image):
    means = {
        name: np.mean([psnr(degrade(image, recipe, rng(i)), image) for i in range(40)])
        for name, recipe in RECIPES.items()
    }
    assert means["light"] > means["gpen"] + 3
    assert means["light"] > max(means["realesrgan"], means["bsrgan"]) + 3
    assert min(means.values()) > 14  # still a face
