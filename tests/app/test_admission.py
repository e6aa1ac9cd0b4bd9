"""The first gate's counts and estimates, without a server."""

import pytest

from app.admission import Admission
from app.deadline import NEVER, Deadline
from app.errors import Overloaded
from app.pace import Pace


def admission(
    pace: float = 0, requests: int = 100, size: int = 1000, parallel: int = 1
) -> Admission:
    return Admission(requests, size, Pace(pace), parallel)


def test_requests_are_counted_in_and_out() -> None:
    gate = admission(requests=1, pace=7.2)
    with gate.visit():
        with pytest.raises(Overloaded) as refused:
            gate.check(0, NEVER)
        assert refused.value.headers["Retry-After"] == "8"
    gate.check(0, NEVER)
    with pytest.raises(KeyError), gate.visit() as visit:  # noqa: PT012  (what is in it is the test)
        visit.receive(10)
        visit.start(NEVER)
        raise KeyError
    assert (gate.requests, gate.bytes, gate.working) == (0, 0, 0)


def test_bytes_are_counted_as_they_come_not_as_they_are_promised() -> None:
    gate = admission(size=1000)
    with gate.visit() as first, gate.visit() as second:
        gate.check(900, NEVER)
        first.receive(600)
        gate.check(400, NEVER)
        with pytest.raises(Overloaded):
            gate.check(401, NEVER)
        second.receive(400)
        with pytest.raises(Overloaded):
            second.receive(1)
        assert gate.bytes == 1000
    assert gate.bytes == 0


def test_who_could_not_be_done_in_time_is_refused_with_the_time_it_takes() -> None:
    gate = admission(pace=1)
    visits = [gate.visit() for _ in range(5)]
    for visit in visits:
        visit.__enter__().start(NEVER)
    gate.check(0, Deadline(10.01))  # six paces are 60% of it
    with pytest.raises(Overloaded) as refused:
        gate.check(0, Deadline(6))
    assert refused.value.headers["Retry-After"] == "3"  # 6 s of work, 3.6 s allowed
    visits[0].__exit__(None, None, None)
    gate.check(0, Deadline(9))


def test_a_slow_past_does_not_lock_the_door() -> None:
    gate = admission(pace=1000)
    gate.check(0, Deadline(1))
    with gate.visit() as visit:
        visit.start(Deadline(1))
        with pytest.raises(Overloaded):
            gate.check(0, Deadline(1))


def test_the_pace_is_learned_whatever_runs_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten come at once, and one is done every 0.2 s."""
    now = 0.0
    monkeypatch.setattr("app.admission.time.monotonic", lambda: now)
    gate = admission(pace=0)
    for _ in range(20):
        visits = [gate.visit().__enter__() for _ in range(10)]
        for visit in visits:
            visit.start(NEVER)
        for visit in visits:
            now += 0.2
            visit.finish(served=True)
    assert gate.pace.seconds == pytest.approx(0.2, rel=0.01)
    assert gate.working == 0


def test_a_refused_start_is_not_at_work() -> None:
    gate = admission(pace=1)
    with gate.visit() as first, gate.visit() as second:
        first.start(NEVER)
        with pytest.raises(Overloaded):
            second.start(Deadline(1))
        assert gate.working == 1
    assert gate.working == 0


def test_who_is_refused_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts instead of pictures, tiny deadlines, clients that vanish: all are over in no time."""
    now = 0.0
    monkeypatch.setattr("app.admission.time.monotonic", lambda: now)
    gate = admission(pace=1.0)
    for _ in range(100):
        with gate.visit() as visit:
            visit.start(NEVER)
            now += 0.001
            visit.finish(served=False)
    assert gate.pace.seconds == 1.0
    with gate.visit() as visit:  # but what takes longer than expected does, answered or not
        visit.start(NEVER)
        now += 30
    assert gate.pace.seconds > 3


def test_one_by_one_they_take_no_longer_than_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("app.admission.time.monotonic", lambda: now)
    gate = admission(parallel=4)
    for _ in range(100):
        with gate.visit() as visit:
            visit.start(NEVER)
            now += 2
            visit.finish(served=True)
    assert gate.pace.seconds == pytest.approx(0.5, rel=0.01)


def test_as_many_as_work_side_by_side_are_let_in_whatever_the_pace() -> None:
    gate = admission(pace=100, parallel=3)
    with gate.visit() as first, gate.visit() as second, gate.visit() as third:
        first.start(Deadline(1))
        second.start(Deadline(1))
        third.start(Deadline(1))
        with pytest.raises(Overloaded):
            gate.check(0, Deadline(1))
