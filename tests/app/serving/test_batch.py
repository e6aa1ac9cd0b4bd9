"""The queue and its worker: order, bounds, ends."""

import threading
import time
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.deadline import Deadline
from app.errors import DeadlineExceeded, MemoryFull, QueueFull, RestorationFailed, Unavailable
from app.pace import Pace
from app.serving.batch import FaceQueue, RestoredFace, Worker

RAISES, LOSES, DIES, BREAKS = 66, 77, 88, 99


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
        self.memory = 100  # faces
        self.broken = False

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.broken:
            raise RuntimeError("device lost")
        if not crops.any():  # the sample
            return crops
        batch = [int(c[0, 0, 0]) for c in crops]
        self.batches.append(batch)
        self.entered.release()
        assert self.gate.wait(10)
        if len(crops) > self.memory:
            raise torch.OutOfMemoryError("no memory")
        self.broken = BREAKS in batch
        if self.broken or RAISES in batch:
            raise RuntimeError("boom")
        if DIES in batch:
            raise SystemExit
        if LOSES in batch:
            return crops[:-1]
        return crops + np.uint8(1)


def started(
    engine: Engine, *, max_batch: int = 4, limit: int = 100
) -> tuple[FaceQueue, Worker, threading.Event]:
    queue = FaceQueue(limit, Pace(0))
    died = threading.Event()
    worker = worker_of(engine, queue, died, max_batch)
    worker.start()
    return queue, worker, died


def worker_of(engine: Engine, queue: FaceQueue, died: threading.Event, max_batch: int) -> Worker:
    sample = crop(0)[None]
    return Worker(engine, queue, max_batch=max_batch, max_wait=0, sample=sample, on_death=died.set)


def result(future: Future[RestoredFace]) -> int:
    return int(future.result(10).crop[0, 0, 0])


def test_faces_of_requests_are_taken_in_turn() -> None:
    queue = FaceQueue(100, Pace(1))
    queue.put([crop(i) for i in range(10, 16)])
    queue.put([crop(20)])
    queue.put([crop(30), crop(31)])
    assert levels(queue.take(4, 0)) == [10, 20, 30, 11]
    assert levels(queue.take(4, 0)) == [31, 12, 13, 14]
    assert levels(queue.take(4, 0)) == [15]
    assert len(queue) == 0


def test_a_crowd_is_not_held_up_for_ever_by_those_after_it() -> None:
    pace = 0.01
    queue = FaceQueue(100, Pace(pace))
    queue.put([crop(i) for i in range(10, 13)])
    time.sleep(4 * pace)  # by now the crowd could have been done
    for level in range(20, 25):
        queue.put([crop(level)])
    assert levels(queue.take(8, 0)) == [10, 11, 12, 20, 21, 22, 23, 24]


def test_what_could_not_be_done_in_time_is_refused_at_once() -> None:
    queue = FaceQueue(100, Pace(1))
    queue.put([crop(0)], Deadline(0.5))  # alone: it may be faster than the others were
    queue.put([crop(1), crop(2), crop(3)], Deadline(10))
    with pytest.raises(QueueFull) as refused:
        queue.put([crop(4), crop(5), crop(6)], Deadline(4.5))
    assert refused.value.headers["Retry-After"] == "3"  # seven paces, of which it has 4.5
    queue.put([crop(7)], Deadline(4))  # one face goes before most of theirs
    assert len(queue) == 5


def test_faces_past_their_deadline_cost_nothing() -> None:
    dropped: list[int] = []
    queue = FaceQueue(3, Pace(0), on_drop=dropped.append)
    late = queue.put([crop(0), crop(1)], Deadline(0.01))
    queue.put([crop(2)])
    time.sleep(0.02)
    assert queue.put([crop(3)])  # they make room
    assert dropped == [2]
    latest = queue.put([crop(4)], Deadline(0.01))
    time.sleep(0.02)
    assert levels(queue.take(4, 0)) == [2, 3]
    assert dropped == [2, 1]
    for future in (*late, *latest):
        with pytest.raises(DeadlineExceeded):
            future.result(0)


def test_a_request_fits_whole_or_not_at_all() -> None:
    queue = FaceQueue(3, Pace(0.01))
    queue.put([crop(0), crop(1)])
    with pytest.raises(Unavailable) as refused:
        queue.put([crop(2), crop(3)])
    assert refused.value.headers["Retry-After"].isdecimal()
    assert len(queue) == 2
    queue.put([crop(2)])
    assert queue.put([]) == []


def test_a_batch_waits_to_fill_but_no_longer_than_told() -> None:
    queue = FaceQueue(10, Pace(0.01))
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
    queue = FaceQueue(10, Pace(0), on_drop=dropped.append)
    first = queue.put([crop(0), crop(1)])
    queue.put([crop(2)])
    assert first[0].cancel()
    assert levels(queue.take(4, 0)) == [1, 2]
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


def test_another_engine_comes_with_batches_of_its_own() -> None:
    first, second = Engine(), Engine()
    queue, worker, died = started(first, max_batch=1)
    busy = queue.put([crop(1)])
    first.entered.acquire()
    futures = queue.put([crop(2), crop(3)])
    worker.use(second, 2)
    first.gate.set()
    second.gate.set()
    assert [result(f) for f in (*busy, *futures)] == [2, 3, 4]
    assert (first.batches, second.batches) == ([[1]], [[2, 3]])
    worker.stop()
    assert not died.is_set()


def test_a_batch_too_large_for_the_device_is_split_until_it_fits() -> None:
    engine = Engine()
    engine.memory = 2
    queue, worker, died = started(engine, max_batch=7)
    busy = queue.put([crop(1)])
    engine.entered.acquire()
    futures = queue.put([crop(level) for level in range(10, 17)])
    engine.gate.set()
    assert [result(f) for f in (*busy, *futures)] == [2, *range(11, 18)]
    assert worker.max_batch == 2  # so that the next ones fit at once
    engine.memory = 0
    (hopeless,) = queue.put([crop(1)])
    with pytest.raises(MemoryFull):
        hopeless.result(10)
    engine.memory = 2
    assert [result(f) for f in queue.put([crop(3), crop(4)])] == [4, 5]
    assert not died.is_set()
    worker.stop()


def test_when_the_device_is_lost_the_worker_ends() -> None:
    engine = Engine()
    queue, _worker, died = started(engine)
    busy = queue.put([crop(1)])
    engine.entered.acquire()
    futures = queue.put([crop(level) for level in (2, BREAKS, 3, 4, 5, 6)])
    engine.gate.set()
    assert result(busy[0]) == 2
    for future in futures:
        with pytest.raises((RestorationFailed, Unavailable)):
            future.result(10)
    assert died.wait(10)
    assert len(engine.batches) < 6  # not one try after the other


def test_one_sees_how_long_the_device_has_been_busy() -> None:
    engine = Engine()
    queue, worker, _died = started(engine)
    assert worker.busy_seconds == 0
    futures = queue.put([crop(1)])
    engine.entered.acquire()
    time.sleep(0.05)
    assert worker.busy_seconds >= 0.05
    engine.gate.set()
    result(futures[0])
    worker.stop()
    assert worker.busy_seconds == 0


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
    queue = FaceQueue(4, Pace(0))
    given_up = queue.put([crop(0), crop(1)])
    queue.put([crop(2), crop(3)])
    assert given_up[1].cancel()
    queue.put([crop(4)])
    assert len(queue) == 4
    assert levels(queue.take(9, 0)) == [0, 2, 3, 4]


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


def test_while_one_worker_is_at_the_device_another_forms_the_next_batch() -> None:
    engine = Engine()
    queue, worker, died = started(engine, max_batch=2)
    other = worker_of(engine, queue, died, max_batch=2)
    other.start()
    futures = [queue.put([crop(level)])[0] for level in (1, 2, 3, 4)]
    for _ in range(2):
        assert engine.entered.acquire(timeout=10)
    assert not engine.gate.is_set()  # both are in their calls
    engine.gate.set()
    assert [result(f) for f in futures] == [2, 3, 4, 5]
    for stopped in (worker, other):
        stopped.stop()
        assert not stopped.alive
    assert not died.is_set()


def test_faces_of_one_request_wake_as_many_workers_as_they_need() -> None:
    engine = Engine()
    queue, worker, died = started(engine, max_batch=2)
    other = worker_of(engine, queue, died, max_batch=2)
    other.start()
    futures = queue.put([crop(level) for level in (1, 2, 3, 4)])
    for _ in range(2):
        assert engine.entered.acquire(timeout=10)
    engine.gate.set()
    assert [result(f) for f in futures] == [2, 3, 4, 5]
    worker.stop()
    other.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_one_of_two_workers_dies_nobody_waits_in_vain() -> None:
    engine = Engine()
    queue, worker, died = started(engine, max_batch=1)
    others_death = threading.Event()
    other = worker_of(engine, queue, others_death, max_batch=1)
    other.start()
    deadly, running, waiting = (queue.put([crop(level)])[0] for level in (DIES, 2, 3))
    for _ in range(2):
        assert engine.entered.acquire(timeout=10)
    engine.gate.set()
    with pytest.raises(RestorationFailed):
        deadly.result(10)
    assert result(running) == 3
    # refused, or restored by the worker that lives
    assert isinstance(waiting.exception(10), Unavailable | None)
    worker.stop()
    other.stop()
    assert died.is_set() != others_death.is_set()
