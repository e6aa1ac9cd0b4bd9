"""The queue and its worker: order, bounds, ends."""

import threading
import time
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.batch import FaceQueue, RestoredFace, Worker
from app.errors import RestorationFailed, Unavailable

RAISES, LOSES, DIES = 66, 77, 88


def crop(level: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), level, np.uint8)


def levels(batch: list[Any]) -> list[int]:
    return [int(job.crop[0, 0, 0]) for job in batch]


class Engine:
    """Adds one to every level; holds each batch until released; fails on some levels."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.batches.append([int(c[0, 0, 0]) for c in crops])
        self.entered.release()
        assert self.gate.wait(10)
        if RAISES in self.batches[-1]:
            raise RuntimeError("boom")
        if DIES in self.batches[-1]:
            raise SystemExit
        if LOSES in self.batches[-1]:
            return crops[:-1]
        return crops + np.uint8(1)


def started(
    engine: Engine, *, max_batch: int = 4, limit: int = 100
) -> tuple[FaceQueue, Worker, threading.Event]:
    queue = FaceQueue(limit)
    died = threading.Event()
    worker = Worker(engine, queue, max_batch=max_batch, max_wait=0, on_death=died.set)
    worker.start()
    return queue, worker, died


def result(future: Future[RestoredFace]) -> int:
    return int(future.result(10).crop[0, 0, 0])


def test_faces_of_requests_are_taken_in_turn() -> None:
    queue = FaceQueue(100)
    queue.put([crop(i) for i in range(10, 16)])
    queue.put([crop(20)])
    queue.put([crop(30), crop(31)])
    assert levels(queue.take(4, 0)) == [10, 20, 30, 11]
    assert levels(queue.take(4, 0)) == [31, 12, 13, 14]
    assert levels(queue.take(4, 0)) == [15]
    assert len(queue) == 0


def test_a_request_fits_whole_or_not_at_all() -> None:
    queue = FaceQueue(3)
    queue.put([crop(0), crop(1)])
    with pytest.raises(Unavailable) as refused:
        queue.put([crop(2), crop(3)])
    assert refused.value.headers["Retry-After"].isdecimal()
    assert len(queue) == 2
    queue.put([crop(2)])
    assert queue.put([]) == []


def test_a_batch_waits_to_fill_but_no_longer_than_told() -> None:
    queue = FaceQueue(10)
    queue.put([crop(0)])
    threading.Timer(0.1, queue.put, [[crop(1)]]).start()
    start = time.perf_counter()
    assert levels(queue.take(2, 5)) == [0, 1]
    assert time.perf_counter() - start < 2
    queue.put([crop(2)])
    start = time.perf_counter()
    assert levels(queue.take(2, 0.2)) == [2]
    assert 0.15 < time.perf_counter() - start < 2


def test_cancelled_faces_cost_nothing() -> None:
    dropped: list[int] = []
    queue = FaceQueue(10, on_drop=dropped.append)
    first = queue.put([crop(0), crop(1)])
    queue.put([crop(2)])
    assert first[0].cancel()
    assert levels(queue.take(4, 0)) == [2, 1]
    assert dropped == [1]
    assert not first[1].cancel()  # running


def test_results_go_to_their_own_futures_whatever_the_batches() -> None:
    engine = Engine()
    engine.gate.set()
    queue, worker, _died = started(engine)
    futures = [queue.put([crop(10 * r + i) for i in range(r % 5)]) for r in range(20)]
    for r, faces in enumerate(futures):
        assert [result(f) for f in faces] == [10 * r + i + 1 for i in range(r % 5)]
    worker.stop()
    assert not worker.alive


def test_faces_that_come_while_the_device_is_busy_share_a_batch() -> None:
    engine = Engine()
    queue, worker, _died = started(engine)
    first = queue.put([crop(1)])
    engine.entered.acquire()
    others = [queue.put([crop(level)])[0] for level in (2, 3, 4, 5, 6)]
    engine.gate.set()
    wait([*first, *others], 10)
    assert engine.batches == [[1], [2, 3, 4, 5], [6]]
    worker.stop()


@pytest.mark.parametrize("bad", [RAISES, LOSES], ids=["raises", "loses a face"])
def test_a_face_that_cannot_be_restored_fails_alone(
    bad: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine()
    queue, worker, died = started(engine, max_batch=2)
    busy = queue.put([crop(1)])
    engine.entered.acquire()
    futures = [queue.put([crop(level)])[0] for level in (bad, 2, 3, 4)]
    engine.gate.set()
    assert result(busy[0]) == 2
    with pytest.raises(RestorationFailed):
        futures[0].result(10)
    assert [result(f) for f in futures[1:]] == [3, 4, 5]
    assert worker.alive
    assert "batch of 2 faces failed" in caplog.text
    worker.stop()
    assert not died.is_set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("max_batch", [1, 4])
def test_when_the_worker_dies_nobody_waits_in_vain(max_batch: int) -> None:
    engine = Engine()
    queue, worker, died = started(engine, max_batch=max_batch)
    busy = queue.put([crop(1)])
    engine.entered.acquire()
    futures = queue.put([crop(RAISES), crop(DIES), crop(2), crop(3), crop(4), crop(5)])
    engine.gate.set()
    assert result(busy[0]) == 2
    for future in futures:
        with pytest.raises((RestorationFailed, Unavailable)):
            future.result(10)
    assert died.wait(10)
    worker.stop()
    assert not worker.alive
    with pytest.raises(Unavailable):
        queue.put([crop(1)])


def test_cancelled_faces_make_room() -> None:
    queue = FaceQueue(4)
    given_up = queue.put([crop(0), crop(1)])
    queue.put([crop(2), crop(3)])
    assert given_up[1].cancel()
    queue.put([crop(4)])
    assert len(queue) == 4
    assert levels(queue.take(9, 0)) == [0, 2, 4, 3]


def test_stopping_finishes_the_batch_at_hand_and_fails_the_rest() -> None:
    engine = Engine()
    queue, worker, died = started(engine, max_batch=1)
    running, waiting = queue.put([crop(1), crop(2)])
    engine.entered.acquire()
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    with pytest.raises(Unavailable):
        waiting.result(10)
    engine.gate.set()
    stopping.join(10)
    assert result(running) == 2
    assert not died.is_set()
    with pytest.raises(Unavailable):
        queue.put([crop(3)])


def test_many_threads_lose_and_mix_nothing() -> None:
    engine = Engine()
    engine.gate.set()
    queue, worker, _died = started(engine, max_batch=8, limit=10_000)
    wrong: list[int] = []

    def client(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(30):
            wanted = [int(level) for level in rng.integers(100, 200, rng.integers(1, 6))]
            futures = queue.put([crop(level) for level in wanted])
            wrong.extend(w for w, f in zip(wanted, futures, strict=True) if result(f) != w + 1)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert len(queue) == 0
    assert max(map(len, engine.batches)) > 1
    worker.stop()
