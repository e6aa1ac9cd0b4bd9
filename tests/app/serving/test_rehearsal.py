"""What a request costs, before the first one comes."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.cores import core_count
from app.faces.pipeline import Timings, find
from app.imaging.decode import decode as decode_here
from app.options import EnhanceOptions
from app.serving import rehearsal
from app.serving.admission import Cost
from app.serving.load import Loaded
from app.serving.rehearsal import rehearse
from app.settings import Settings
from tests.app.running import Restorer

LIMITS = Settings().limits


def taking(seconds: float, result: Callable[..., Any]) -> Callable[..., Any]:
    def work(*arguments: Any) -> Any:
        time.sleep(seconds)
        return result(*arguments)

    return work


@pytest.fixture
def rehearsed(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes
) -> Callable[..., Cost]:
    """The cost where stages take so many seconds; nothing else takes long, on a busy machine."""
    found = find(astronaut_png, EnhanceOptions(), LIMITS, loaded.detector, loaded.restorer)

    def cost(*, decode: float, detect: float, restore: float, finish: float) -> Cost:
        result = replace(found, timings=Timings(decode=decode, detect=detect))
        monkeypatch.setattr(rehearsal, "find", taking(decode + detect, lambda *_: result))
        monkeypatch.setattr(rehearsal, "finish", taking(finish, lambda *_: None))
        restorer: Any = Restorer(loaded, taking(restore, lambda crops: crops))
        return rehearse(replace(loaded, restorer=restorer), LIMITS, 1, decode_here)

    return cost


def test_every_stage_is_timed_and_goes_by_what_its_time_depends_on(
    rehearsed: Callable[..., Cost],
) -> None:
    cost = rehearsed(decode=0.2, detect=0.6, restore=0.4, finish=0.2)
    assert cost.photo == pytest.approx(cost.searched * 2 / 3, rel=0.3)
    assert cost.photo == pytest.approx(cost.megapixel, rel=0.3)
    assert cost.of(1_000_000) > 1.4 / (core_count() + 1)  # this thread restores, too


def test_the_slowest_stage_counts_where_it_is_alone(rehearsed: Callable[..., Cost]) -> None:
    cost = rehearsed(decode=0, detect=0, restore=0.5, finish=0)
    assert cost.photo == pytest.approx(0.5, rel=0.3)
    assert cost.of(40_000_000) < 2 * cost.photo


def test_the_real_stages_are_timed(loaded: Loaded) -> None:
    cost = rehearse(loaded, LIMITS, 1, decode_here)
    assert min(cost.photo, cost.megapixel, cost.searched) > 0
    assert cost.of(12_000_000) < 12 * cost.of(1_000_000)
