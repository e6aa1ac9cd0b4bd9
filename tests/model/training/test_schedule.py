import math
from itertools import pairwise

import pytest

from model.training.config import TrainConfig
from model.training.schedule import Stage, cosine, learning_rates, stage_at, total_steps

PER_EPOCH = 100


def config(**changes) -> TrainConfig:
    document = {
        "num_epochs": 10,
        "warmup_epochs": 2,
        "content": {"epochs": 5, "lr": 1e-3, "lr_min": 1e-4},
        "lr_g": 2e-4,
        "lr_min": 1e-6,
        "lr_d": 4e-4,
        "eta_min_d": 5e-7,
    }
    return TrainConfig.model_validate(document | changes)


def test_stages_follow_each_other():
    stages = [stage_at(step, 1, config()) for step in range(total_steps(1, config()))]
    assert stages == [Stage.CONTENT] * 5 + [Stage.WARMUP] * 2 + [Stage.JOINT] * 8


def test_without_content_stage_and_warm_up():
    plain = config(content={"epochs": 0}, warmup_epochs=0)
    assert total_steps(1, plain) == 10
    assert {stage_at(step, 1, plain) for step in range(10)} == {Stage.JOINT}
    assert learning_rates(0, PER_EPOCH, plain) == pytest.approx((2e-4 / 50, 4e-4))  # a ramp


def test_epochs_may_be_fractions():
    short = config(content={"epochs": 0.5}, warmup_epochs=0.25, num_epochs=1.5)
    stages = [stage_at(step, 100, short) for step in range(total_steps(100, short))]
    assert stages == [Stage.CONTENT] * 50 + [Stage.WARMUP] * 25 + [Stage.JOINT] * 125


def test_cosine():
    rates = [cosine(step, 5, 3.0, 1.0) for step in range(5)]
    assert rates == pytest.approx([3, 2 + math.sqrt(0.5), 2, 2 - math.sqrt(0.5), 1])
    assert (rates[0], rates[-1]) == (3, 1)
    assert (cosine(-1, 5, 3.0, 1.0), cosine(9, 5, 3.0, 1.0)) == (3, 1)
    assert cosine(0, 1, 3.0, 1.0) == 3


def test_content_stage_starts_with_a_ramp():
    assert learning_rates(0, PER_EPOCH, config())[0] == pytest.approx(1e-3 / 50)
    assert learning_rates(24, PER_EPOCH, config())[0] == pytest.approx(0.5e-3, rel=0.02)
    assert learning_rates(49, PER_EPOCH, config())[0] == pytest.approx(1e-3, rel=0.03)


def test_learning_rates_at_the_edges_of_stages():
    content_end = learning_rates(5 * PER_EPOCH - 1, PER_EPOCH, config())
    assert content_end == (1e-4, 4e-4)
    warmup_start = learning_rates(5 * PER_EPOCH, PER_EPOCH, config())
    assert warmup_start == (2e-4, 4e-4)
    joint_start = learning_rates(7 * PER_EPOCH, PER_EPOCH, config())
    assert joint_start[0] == 2e-4
    assert joint_start[1] == cosine(2 * PER_EPOCH, 10 * PER_EPOCH, 4e-4, 5e-7)
    joint_middle = learning_rates(11 * PER_EPOCH, PER_EPOCH, config())
    assert joint_middle[0] == pytest.approx((2e-4 + 1e-6) / 2, rel=0.01)


def test_learning_rates_end_at_their_floors_and_stay():
    for step in (15 * PER_EPOCH - 1, 15 * PER_EPOCH, 99 * PER_EPOCH):
        assert learning_rates(step, PER_EPOCH, config()) == (1e-6, 5e-7)


def test_learning_rates_only_fall_within_a_stage():
    def fall(rates: list[float]) -> bool:
        return all(later <= sooner for sooner, later in pairwise(rates))

    g, d = zip(
        *(learning_rates(s, PER_EPOCH, config()) for s in range(15 * PER_EPOCH)), strict=True
    )
    assert fall(list(g[50:500]))
    assert fall(list(g[500:]))
    assert fall(list(d))
    assert min(g) >= 1e-6
    assert min(d) >= 5e-7


def test_a_run_that_is_all_warm_up():
    warmup = config(warmup_epochs=10)
    assert {stage_at(step, 1, warmup) for step in range(5, 15)} == {Stage.WARMUP}
    assert learning_rates(14 * PER_EPOCH, PER_EPOCH, warmup)[0] == 2e-4
