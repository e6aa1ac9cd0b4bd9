"""Counts and estimates of who is let in, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from app.deadline import NEVER, Deadline
from app.errors import MOST_RETRY_S, Overloaded, QueueFull, Unavailable
from app.pace import Pace
from app.serving.admission import Admission, Cost, Visit
from app.serving.line import Line

MEGAPIXEL = 1_000_000


def admission(
    cost: float = 0, requests: int = 10_000, size: int = 1000, parallel: int = 1, **line: Any
) -> Admission:
    """``cost``: seconds that each photo takes, as has been seen many times."""
    queue = Line(**({"limit": 1000, "most_pixels": 1, "readers": 1, "at_once": 1} | line))
    gate = Admission(queue, requests, size, parallel)
    gate.begin(Cost(photo=cost))
    for _ in range(20):
        gate.pace.note(1.0)
    return gate


def check(gate: Admission, deadline: Deadline = NEVER, declared: int = 0) -> None:
    with gate.visit(declared, deadline):
        pass


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as visits:
        yield visits


def joined(gate: Admission, visits: ExitStack, deadline: Deadline = NEVER) -> Visit:
    visit = visits.enter_context(gate.visit(0, deadline))
    visit.complete()
    visit.join(MEGAPIXEL)
    return visit


def test_requests_are_counted_in_and_out() -> None:
    gate = admission(requests=1, cost=7.2)
    with gate.visit(0, NEVER):
        with pytest.raises(Overloaded) as refused:
            check(gate)
        assert refused.value.headers["Retry-After"] == "8"
    with pytest.raises(KeyError), gate.visit(500, NEVER) as visit:  # noqa: PT012  (is the test)
        visit.receive(10)
        visit.join(MEGAPIXEL)
        raise KeyError
    assert (gate.requests, gate.bytes, gate.working, gate.ahead) == (0, 0, 0, 0)


def test_what_was_declared_is_kept_for_it(stack: ExitStack) -> None:
    """Whoever is let in by a length is not refused halfway."""
    gate = admission(size=1000)
    first = stack.enter_context(gate.visit(900, Deadline(30)))
    with pytest.raises(Overloaded):
        check(gate, declared=101)
    second = stack.enter_context(gate.visit(100, Deadline(30)))
    for _ in range(9):
        first.receive(100)
    second.receive(100)
    with pytest.raises(Overloaded):
        second.receive(1)
    assert gate.bytes == 1000
    stack.close()
    assert gate.bytes == 0


def test_bodies_of_unknown_length_hold_what_has_come(stack: ExitStack) -> None:
    gate = admission(size=1000)
    first, second = (stack.enter_context(gate.visit(0, NEVER)) for _ in range(2))
    first.receive(600)
    second.receive(400)
    with pytest.raises(Overloaded):
        second.receive(1)


def test_a_body_that_cannot_be_complete_in_time_keeps_others_out_no_longer(
    monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    now = 0.0
    monkeypatch.setattr("app.serving.admission.time.monotonic", lambda: now)
    monkeypatch.setattr("app.deadline.time.monotonic", lambda: now)
    gate = admission(size=1000)
    silent = stack.enter_context(gate.visit(500, Deadline(30)))
    steady = stack.enter_context(gate.visit(500, Deadline(30)))
    steady.receive(50)
    with pytest.raises(Overloaded):
        check(gate, declared=100)
    now = 2.1
    other = stack.enter_context(gate.visit(400, Deadline(30)))
    assert gate.bytes == 0 + 500 + 400
    silent.receive(100)  # what comes after all is taken in while there is room
    with pytest.raises(Overloaded):
        silent.receive(100)
    steady.receive(450)
    other.receive(400)


def test_bytes_of_an_upload_are_free_when_the_answer_begins() -> None:
    gate = admission(size=1000)
    with gate.visit(1000, NEVER) as visit:
        visit.receive(1000)
        visit.complete()
        visit.join(MEGAPIXEL)
        visit.finish(served=True)
        assert gate.bytes == 0
        assert gate.requests == 1


def test_who_could_not_be_done_in_time_is_refused(stack: ExitStack) -> None:
    gate = admission(cost=1)
    visits = [joined(gate, stack) for _ in range(5)]
    check(gate, Deadline(8.01))  # six photos are three quarters of it
    with pytest.raises(Overloaded):
        check(gate, Deadline(7.9))
    visits[0].finish(served=False)
    check(gate, Deadline(7))


def test_a_fresh_service_trusts_its_first_guess_less(stack: ExitStack) -> None:
    gate = admission(cost=1)
    gate.pace = Pace(1.0)
    for _ in range(5):
        joined(gate, stack)
    check(gate, Deadline(10.1))  # six photos are 60% of it
    with pytest.raises(Overloaded):
        check(gate, Deadline(9.9))


def test_the_cost_goes_by_the_size_of_the_photo(stack: ExitStack) -> None:
    gate = admission(size=20_000_000)
    gate.begin(Cost(photo=0.1, megapixel=1.0))
    large = stack.enter_context(gate.visit(5_000_000, NEVER))
    large.receive(5_000_000)
    large.complete()
    large.join(10 * MEGAPIXEL)
    assert gate.backlog_seconds == pytest.approx(10.1)
    with gate.visit(200_000, Deadline(16)) as small:
        small.receive(200_000)
        small.complete()
        small.join(MEGAPIXEL)
    with pytest.raises(Overloaded):
        check(gate, Deadline(16), declared=5_000_000)
    with gate.visit(200_000, Deadline(16)) as well_packed, pytest.raises(Overloaded):
        well_packed.join(10 * MEGAPIXEL)


def test_a_crowd_that_comes_at_one_moment_is_not_let_in_as_a_whole(stack: ExitStack) -> None:
    """Its headers come before any body is complete: who is too many is told at the body's end."""
    gate = admission(cost=1, size=10**9)
    crowd = [stack.enter_context(gate.visit(200_000, Deadline(8.4))) for _ in range(7)]
    for visit in crowd[:6]:
        visit.receive(200_000)
        visit.complete()
    assert gate.backlog_seconds == pytest.approx(6)
    with pytest.raises(Overloaded) as refused:
        crowd[6].complete()
    assert 1 <= refused.value.retry_after <= 6  # as long as the others take
    with pytest.raises(Overloaded):
        check(gate, Deadline(8), declared=200_000)
    crowd[0].join(MEGAPIXEL)
    crowd[1].finish(served=False)
    assert gate.backlog_seconds == pytest.approx(5)
    check(gate, Deadline(10.5), declared=200_000)


def test_bodies_that_are_not_complete_keep_nobody_out(stack: ExitStack) -> None:
    gate = admission(cost=1, size=10**9)
    for declared in (0, 200_000):
        for _ in range(6):
            stack.enter_context(gate.visit(declared, Deadline(10.5))).receive(1000)
    assert gate.backlog_seconds == 0
    check(gate, Deadline(10))


def test_who_was_let_in_is_not_refused_for_those_who_came_later(stack: ExitStack) -> None:
    gate = admission(cost=1)
    visits = [stack.enter_context(gate.visit(0, Deadline(10))) for _ in range(5)]
    for visit in reversed(visits):
        visit.complete()
        visit.join(MEGAPIXEL)
    assert gate.ahead == gate.backlog_seconds == pytest.approx(5)


def test_retry_after_is_spread_over_the_time_that_the_backlog_takes(stack: ExitStack) -> None:
    gate = admission(cost=1)
    for _ in range(30):
        joined(gate, stack)
    told = []
    for _ in range(300):
        with pytest.raises(Unavailable) as refused:
            check(gate, Deadline(32))  # room for 24
        told.append(int(refused.value.headers["Retry-After"]))
    assert 7 <= min(told) <= 10  # seconds until there is room: 31 - 24
    assert 28 <= max(told) <= 30
    assert max(told.count(seconds) for seconds in set(told)) < 60
    for _ in range(1000):
        joined(gate, stack)
    with pytest.raises(Unavailable) as refused:
        check(gate, Deadline(32))
    assert refused.value.headers["Retry-After"] == str(MOST_RETRY_S)


def test_a_full_line_takes_nobody(stack: ExitStack) -> None:
    gate = admission(limit=0, readers=0)
    with pytest.raises(QueueFull):
        check(gate)


def test_a_slow_past_does_not_lock_the_door(stack: ExitStack) -> None:
    gate = admission(cost=1000)
    check(gate, Deadline(1))
    joined(gate, stack, Deadline(1))
    with pytest.raises(Overloaded):
        check(gate, Deadline(1))


def test_the_pace_is_learned_whatever_runs_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten come at once, and one is done every 0.2 s, where 0.1 was expected."""
    now = 0.0
    monkeypatch.setattr("app.serving.admission.time.monotonic", lambda: now)
    gate = admission(cost=0.1)
    for _ in range(20):
        with ExitStack() as visits:
            for visit in [joined(gate, visits) for _ in range(10)]:
                now += 0.2
                visit.finish(served=True)
    assert gate.seconds_per_request == pytest.approx(0.2, rel=0.01)
    assert (gate.working, gate.ahead) == (0, 0)


def test_a_refused_one_is_not_at_work(stack: ExitStack) -> None:
    gate = admission(cost=1)
    second = stack.enter_context(gate.visit(0, Deadline(1)))
    joined(gate, stack)
    with pytest.raises(Overloaded):
        second.join(MEGAPIXEL)
    assert gate.working == 1
    stack.close()
    assert gate.working == 0


def test_who_is_refused_teaches_nothing(monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    """Texts instead of pictures, tiny deadlines, clients that vanish: all are over in no time."""
    now = 0.0
    monkeypatch.setattr("app.serving.admission.time.monotonic", lambda: now)
    gate = admission(cost=1.0)
    for _ in range(100):
        visit = joined(gate, stack)
        now += 0.001
        visit.finish(served=False)
    assert gate.seconds_per_request == 1.0
    visit = joined(gate, stack)  # but what takes longer than expected does, answered or not
    now += 30
    visit.finish(served=False)
    assert gate.seconds_per_request > 3


def test_one_by_one_they_take_no_longer_than_side_by_side(
    monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    now = 0.0
    monkeypatch.setattr("app.serving.admission.time.monotonic", lambda: now)
    gate = admission(cost=1, parallel=4)
    for _ in range(100):
        visit = joined(gate, stack)
        now += 2
        visit.finish(served=True)
    assert gate.seconds_per_request == pytest.approx(0.5, rel=0.01)


def test_as_many_as_work_side_by_side_are_let_in_whatever_the_pace(stack: ExitStack) -> None:
    gate = admission(cost=100, parallel=3)
    for _ in range(3):
        joined(gate, stack, Deadline(1))
    with pytest.raises(Overloaded):
        check(gate, Deadline(1))


def test_faces_of_a_large_photo_are_detected_in_a_smaller_one() -> None:
    cost = Cost(photo=0.1, megapixel=0.05, searched=0.3, most_searched=4)
    assert cost.of(1_000_000) == pytest.approx(0.1 + 0.05 + 0.3)
    assert cost.of(12_000_000) == pytest.approx(0.1 + 12 * 0.05 + 4 * 0.3)
    assert cost.of(4_000_000, scale=2) == pytest.approx(0.1 + 4 * 0.05 + 1 * 0.3)
