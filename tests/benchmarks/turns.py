"""Contestants take turns, so that whatever else the machine does hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

CALM_S = 0.25  # until the threads of the one before have stopped to wait for more, busily


def take_turns(
    contestants: Mapping[Key, Callable[[], object]],
    rounds: int,
    turn_s: float = 0.0,
    calm_s: float = CALM_S,
) -> dict[Key, list[float]]:
    """Seconds of every call, of ``rounds`` rounds.

    A turn is one call, or as many as begin within ``turn_s``; of several, the first, which finds
    the caches full of another's data, does not count.
    """
    seconds: dict[Key, list[float]] = {key: [] for key in contestants}
    for _ in range(rounds):
        for key, call in contestants.items():
            time.sleep(calm_s)
            calls = _turn(call, turn_s)
            seconds[key] += calls[1:] or calls
    return seconds


def _turn(call: Callable[[], object], turn_s: float) -> list[float]:
    calls: list[float] = []
    begun = time.perf_counter()
    while not calls or time.perf_counter() - begun < turn_s:
        start = time.perf_counter()
        call()
        calls.append(time.perf_counter() - start)
    return calls
