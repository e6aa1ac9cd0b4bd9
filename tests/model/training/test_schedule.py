import math
from itertools import pairwise
from typing import Any

import pytest

from model.training.config import TrainConfig
from model.training.schedule import Plan, Stage, cosine, describe, learning_rates

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


def plan(per_epoch: int = PER_EPOCH, **changes: Any) -> Plan:
    return Plan.of(config(**changes), per_epoch)


def rates(step: int, **changes: Any) -> tuple[float, float]:
    return learning_rates(step, plan(**changes), config(**changes))


def test_stages_follow_each_other():
    short = plan(1)
    stages = [short.stage_at(step) for step in range(short.total)]
    assert stages == [Stage.CONTENT] * 5 + [Stage.WARMUP] * 2 + [Stage.JOINT] * 8


def test_without_content_stage_and_warm_up():
    plain: dict[str, Any] = {"content": {}, "warmup_epochs": None}
    assert plan(1, **plain) == Plan(0, 0, 10)
    assert {plan(1, **plain).stage_at(step) for step in range(10)} == {Stage.JOINT}
    assert rates(0, **plain) == pytest.approx((2e-4 / 50, 4e-4))  # a ramp


def test_epochs_may_be_fractions():
    assert plan(content={"epochs": 0.5}, warmup_epochs=0.25, num_epochs=1.5) == Plan(50, 25, 125)


def test_stages_in_steps_and_images():
    """The same plan, whatever the unit; those beside each other need not agree in theirs."""
    steps: dict[str, Any] = {
        "num_epochs": None,
        "warmup_epochs": None,
        "num_steps": 1000,
        "warmup_steps": 200,
    }
    assert plan(content={"steps": 500}, **steps) == plan()
    images = steps | {"warmup_steps": None, "warmup_images": 1600, "batch_size": 8}
    assert plan(content={"images": 4000}, **images) == plan()


def test_a_warm_up_that_is_longer_than_the_rest():
    """What only the number of faces tells."""
    with pytest.raises(ValueError, match="warm-up of 300 steps is longer than all 100 steps"):
        plan(10, warmup_epochs=None, warmup_steps=300)


def test_what_is_left():
    assert plan(1).left(0) == {Stage.CONTENT: 5, Stage.WARMUP: 2, Stage.JOINT: 8}
    assert plan(1).left(6) == {Stage.WARMUP: 1, Stage.JOINT: 8}
    assert plan(1).left(15) == {}


def test_the_plan_is_described():
    seconds = {Stage.WARMUP: 0.5, Stage.JOINT: 2.0}
    lines = describe(plan(), PER_EPOCH, 8, seconds, step=600).splitlines()
    assert lines[0] == "an epoch has 100 steps of 8 images; the plan:"
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "content 500 steps = 5.0 epochs = 4000 images, done",
        "warmup 200 steps = 2.0 epochs = 1600 images, about 0:00:50 at 0.5 s a step",
        "joint 800 steps = 8.0 epochs = 6400 images, about 0:26:40 at 2 s a step",
        "total 1500 steps = 15.0 epochs = 12000 images, about 0:27:30 for the 900 steps that are "
        "left",
    ]


def test_cosine():
    curve = [cosine(step, 5, 3.0, 1.0) for step in range(5)]
    assert curve == pytest.approx([3, 2 + math.sqrt(0.5), 2, 2 - math.sqrt(0.5), 1])
    assert (curve[0], curve[-1]) == (3, 1)
    assert (cosine(-1, 5, 3.0, 1.0), cosine(9, 5, 3.0, 1.0)) == (3, 1)
    assert cosine(0, 1, 3.0, 1.0) == 3


def test_content_stage_starts_with_a_ramp():
    assert rates(0)[0] == pytest.approx(1e-3 / 50)
    assert rates(24)[0] == pytest.approx(0.5e-3, rel=0.02)
    assert rates(49)[0] == pytest.approx(1e-3, rel=0.03)


def test_learning_rates_at_the_edges_of_stages():
    content_end = rates(5 * PER_EPOCH - 1)
    assert content_end == (1e-4, 4e-4)
    warmup_start = rates(5 * PER_EPOCH)
    assert warmup_start == (2e-4, 4e-4)
    joint_start = rates(7 * PER_EPOCH)
    assert joint_start[0] == 2e-4
    assert joint_start[1] == cosine(2 * PER_EPOCH, 10 * PER_EPOCH, 4e-4, 5e-7)
    joint_middle = rates(11 * PER_EPOCH)
    assert joint_middle[0] == pytest.approx((2e-4 + 1e-6) / 2, rel=0.01)


def test_learning_rates_end_at_their_floors_and_stay():
    for step in (15 * PER_EPOCH - 1, 15 * PER_EPOCH, 99 * PER_EPOCH):
        assert rates(step) == (1e-6, 5e-7)


def test_learning_rates_only_fall_within_a_stage():
    def fall(rates: list[float]) -> bool:
        return all(later <= sooner for sooner, later in pairwise(rates))

    g, d = zip(*(learning_rates(s, plan(), config()) for s in range(15 * PER_EPOCH)), strict=True)
    assert fall(list(g[50:500]))
    assert fall(list(g[500:]))
    assert fall(list(d))
    assert min(g) >= 1e-6
    assert min(d) >= 5e-7


def test_a_run_that_is_all_warm_up():
    assert plan(1, warmup_epochs=10) == Plan(5, 10, 0)
    assert rates(14 * PER_EPOCH, warmup_epochs=10)[0] == 2e-4
