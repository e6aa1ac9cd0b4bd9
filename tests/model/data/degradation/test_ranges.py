from dataclasses import asdict

import pytest
from pydantic import TypeAdapter, ValidationError

from model.data.degradation import RECIPES, GpenRecipe, LightRecipe, Ranges
from model.data.degradation.ranges import scale_kernel, scale_range


def test_upper_ends_scale_with_the_size():
    assert scale_range((0.1, 10), 512) == (0.1, 10)
    assert scale_range((0.1, 10), 256) == (0.1, 5)
    assert scale_range((0.8, 8), 1024) == (0.8, 16)
    assert scale_range((0.5, 8), 256, power=2) == (0.5, 2)


def test_upper_ends_never_fall_below_the_lower_ones():
    assert scale_range((0.8, 8), 32) == (0.8, 0.8)


def test_kernels_stay_odd():
    assert [scale_kernel(41, size) for size in (1024, 512, 256, 128, 1)] == [81, 41, 21, 11, 1]
    assert scale_kernel(7, 512) == 7


def test_light_is_written_for_512_px_too():
    light = LightRecipe()
    assert scale_range(light.blur, 256) == (0.1, 1.5)
    assert scale_range(light.shrink, 256) == (0.8, 2)
    assert scale_kernel(light.kernel_size, 256) == 21


READER = TypeAdapter(Ranges)


def test_what_is_not_set_stays_as_published():
    ranges = READER.validate_python(
        {"light": {"blur": [0.1, 2]}, "realesrgan": {"second": {"sigma": [0.2, 1]}}}
    )
    assert asdict(ranges.light) == asdict(LightRecipe()) | {"blur": (0.1, 2)}
    assert asdict(ranges.realesrgan.second) == asdict(Ranges().realesrgan.second) | {
        "sigma": (0.2, 1)
    }
    assert ranges.gpen == RECIPES["gpen"] == GpenRecipe()
    assert ranges.realesrgan.first == Ranges().realesrgan.first


def test_settings_can_be_written_and_read():
    written = READER.dump_json(Ranges(gpen=GpenRecipe(noise=(1, 2))))
    assert READER.validate_json(written) == Ranges(gpen=GpenRecipe(noise=(1, 2)))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"gpen": {"blur": [5, 1]}}, "the lower end 5 is above the upper end 1"),
        ({"gpen": {"jpeg": [60, 101]}}, "less than or equal to 100"),
        ({"gpen": {"noise": [-1, 5]}}, "greater than or equal to 0"),
        ({"gpen": {"shrink": [0, 5]}}, "greater than 0"),
        ({"gpen": {"kernel_size": 20}}, "20 is even"),
        ({"light": {"blurr": [0.1, 2]}}, "Unexpected keyword argument"),
        ({"heavy": {}}, "Unexpected keyword argument"),
        ({"realesrgan": {"first": {"resize_probabilities": [0.2, 0.7, 0.2]}}}, "add up to 1.1"),
        ({"bsrgan": {"scales": []}}, "at least 1 item"),
    ],
)
def test_settings_that_cannot_be_used(setting, told):
    with pytest.raises(ValidationError, match=told):
        READER.validate_python(setting)
