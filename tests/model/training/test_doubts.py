import pytest

from model.training.config import TrainConfig
from model.training.doubts import doubts
from model.training.schedule import Plan


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["G starts from scratch"]),
        ({"warmup_epochs": 1}, ["a G that has learnt nothing: set train.content.steps"]),
        ({"content": {"epochs": 1}}, ["G has been trained and D has not"]),
        ({"content": {"epochs": 1}, "warmup_epochs": 1}, []),
        ({"initial": {"g": "g.pth"}, "warmup_epochs": 1}, []),
        ({"initial": {"g": "g.pth", "d": "d.pth"}}, []),
        (
            {"content": {"epochs": 1}, "warmup_epochs": 1, "batch_size": 4, "accumulation": 2},
            ["minibatch standard deviation is always 0"],
        ),
        (
            {"content": {"epochs": 1}, "num_epochs": 1000, "warmup_epochs": 300},
            ["D will learn alone for 30000 steps"],
        ),
        ({"content": {"epochs": 1}, "warmup_epochs": 1.5}, ["longer than G learns with it (50"]),
    ],
)
def test_doubts(changes, expected):
    config = TrainConfig.model_validate({"num_epochs": 2} | changes)
    said = doubts(config, Plan.of(config, 100), config.micro_batch(processes=2))
    assert len(said) == len(expected)
    assert all(part in doubt for part, doubt in zip(expected, said, strict=True))
