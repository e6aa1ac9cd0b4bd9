"""Pixels in flight: bounded, and counted out when the work is really over."""

import threading
from pathlib import Path

import pytest

from app.budget import PixelBudget, memory_bytes, pixels_by_memory
from app.errors import Unavailable


def test_what_fits_gets_in() -> None:
    budget = PixelBudget(100, retry_after=lambda: 2.5)
    first = budget.take(60)
    budget.take(40)
    with pytest.raises(Unavailable) as refused:
        budget.take(1)
    assert refused.value.headers["Retry-After"].isdecimal()
    first()
    first()  # once more does no harm
    assert budget.used == 40
    budget.take(60)


def test_a_photo_over_the_limit_gets_in_alone() -> None:
    budget = PixelBudget(100, retry_after=lambda: 2.5)
    release = budget.take(500)
    with pytest.raises(Unavailable):
        budget.take(1)
    release()
    assert budget.used == 0


def test_threads_do_not_miscount() -> None:
    budget = PixelBudget(10**9, retry_after=lambda: 2.5)

    def work() -> None:
        for _ in range(2000):
            budget.take(3)()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.used == 0


def test_a_container_s_limit_counts(tmp_path: Path) -> None:
    physical = memory_bytes(())
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    assert memory_bytes((limit,)) == physical
    limit.write_text("2000000000\n")
    assert memory_bytes((limit, tmp_path / "absent")) == min(physical, 2_000_000_000)
    assert pixels_by_memory() > 1_000_000
