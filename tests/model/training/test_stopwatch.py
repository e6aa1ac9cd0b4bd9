import time
from collections.abc import Iterator

import pytest

from model.training.stopwatch import Stopwatch


def work(seconds: float) -> None:
    """Use the processor for about as long."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_processor_time_is_told_by_part_and_what_belongs_to_none():
    stopwatch = Stopwatch()
    for _ in range(2):
        with stopwatch.part("a"):
            work(0.02)
    for item in stopwatch.each("b", [1, 2]):
        assert item in {1, 2}
        work(0.03)  # what is done with an item is not its making
    parts = stopwatch.read()
    assert parts["a"] == pytest.approx(0.04, abs=0.01)
    assert parts["b"] < 0.01
    assert parts["other"] == pytest.approx(0.06, abs=0.01)


def test_waiting_takes_no_processor_time_and_reading_begins_anew():
    stopwatch = Stopwatch()
    work(0.02)
    stopwatch.read()
    with stopwatch.part("a"):
        time.sleep(0.05)
    assert sum(stopwatch.read().values()) < 0.02


def test_how_long_items_were_waited_for():
    def slow() -> Iterator[int]:
        for i in range(2):
            time.sleep(0.02)
            yield i

    stopwatch = Stopwatch()
    for _ in stopwatch.each("data", slow()):
        time.sleep(0.03)
    assert 0.04 <= stopwatch.waited < 0.09
    stopwatch.read()
    assert stopwatch.waited == 0
