"""What a request costs, before the first one comes."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.cores import core_count
from app.faces.pipeline import find
from app.imaging.decode import decode
from app.serving import rehearsal
from app.serving.load import Loaded
from app.serving.rehearsal import rehearse
from app.settings import Settings
from tests.app.running import Restorer

LIMITS = Settings().limits


def test_all_of_a_request_is_timed(monkeypatch: pytest.MonkeyPatch, loaded: Loaded) -> None:
    """A stage that takes longer makes a request cost more; the generator alone is not asked."""
    before = rehearse(loaded, LIMITS, 1, decode)
    assert before.photo > 0
    assert before.megapixel > 0

    def slow(*arguments: Any) -> Any:
        time.sleep(1)
        return find(*arguments)

    monkeypatch.setattr(rehearsal, "find", slow)
    after = rehearse(loaded, LIMITS, 1, decode)
    assert after.of(1_000_000) > before.of(1_000_000) + 0.5 / core_count()


def test_a_slow_generator_costs_each_photo_the_same(loaded: Loaded) -> None:
    def slow(crops: Sequence[Any]) -> Any:
        time.sleep(1)
        return crops

    restorer: Any = Restorer(loaded, slow)
    cost = rehearse(replace(loaded, restorer=restorer), LIMITS, 1, decode)
    assert cost.photo > 0.4
    assert cost.photo > cost.megapixel
    assert 1 < cost.of(1_000_000) < 4
