"""Threads that are watched."""

import threading
import time

import pytest
import torch

from app.threads import WatchedPool


def test_a_pool_knows_for_how_long_it_has_been_at_its_oldest_work() -> None:
    gates = [threading.Event(), threading.Event()]
    with WatchedPool(2, "test") as pool:
        assert pool.busy_seconds == 0
        hanging = pool.submit(gates[0].wait, 30)
        time.sleep(0.3)
        other = pool.submit(gates[1].wait, 30)
        assert 0.3 <= pool.busy_seconds < 10
        gates[0].set()
        assert hanging.result(10)
        time.sleep(0.05)
        assert pool.busy_seconds < 0.3
        gates[1].set()
        assert other.result(10)


def test_work_that_fails_is_over() -> None:
    with WatchedPool(1, "test") as pool:
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 // 0).result(10)
        assert pool.busy_seconds == 0


def test_work_is_timed_where_it_is_done() -> None:
    with WatchedPool(1, "test", torch_threads=1) as pool:
        first, second = (pool.submit_timed(time.sleep, 0.1) for _ in range(2))
        assert 0.1 <= first.result(10).ended - first.result().began < 5
        assert second.result(10).began >= first.result().ended
        assert pool.submit_timed(torch.get_num_threads).result(10).result == 1
