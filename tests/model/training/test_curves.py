"""Curves beside TensorBoard's, which the tests of runs look at."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model.training.curves import Curves
from model.training.records import HealthRecord, TrainRecord
from model.training.schedule import Stage

ROW = TrainRecord(
    step=4, epoch=2, progress=0.4, stage=Stage.CONTENT, time=9, steps=4, seconds_per_step=2,
    lr_g=1e-3, gpu_memory=3.5,
)  # fmt: skip


class Stand(ModuleType):
    """In place of the package: keeps what it is called with."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.settings: dict[str, str] = {}
        self.config = SimpleNamespace(update=lambda values, **_: self.settings.update(values))
        self.Image = lambda picture: tuple(picture.shape)

    def init(self, **arguments: Any) -> SimpleNamespace:
        self.begun.append(arguments)
        return SimpleNamespace(
            log=lambda values, step: self.logged.append((step, values)), finish=lambda: None
        )


def test_weights_and_biases_is_asked_for(make_config, tmp_path, monkeypatch):
    wandb = Stand()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    Curves(tmp_path, make_config(), 0).close()
    assert wandb.begun == []

    config = make_config(wandb_project="faces")
    for step in (0, 4):  # begun, and gone on with
        curves = Curves(tmp_path, config, step)
        curves.show(ROW)
        curves.show(HealthRecord(step=4, time=9, rule="blind_d", message="It does not learn."))
        curves.show_samples(4, np.zeros((6, 9, 3), np.uint8))
        curves.close()
    first, second = wandb.begun
    assert first["project"] == "faces"
    assert first["name"] == tmp_path.name
    assert first["id"] == second["id"]
    assert wandb.settings["train.wandb_project"] == "faces"
    assert wandb.logged[:3] == [
        (4, {"train/lr_g": 1e-3, "train/seconds_per_step": 2, "train/gpu_memory": 3.5}),
        (4, {"health/blind_d": "It does not learn."}),
        (4, {"samples": [(3, 6, 9)]}),
    ]


def test_a_package_that_is_missing(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install wandb"):
        Curves(tmp_path, make_config(wandb_project="faces"), 0)
