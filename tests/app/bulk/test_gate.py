"""So many pixels at a time."""

import threading

import pytest

from app.bulk.gate import PixelGate


def enter(gate: PixelGate, pixels: int) -> tuple[threading.Event, threading.Event]:
    """Events: has come in, and may go."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with gate.hold(pixels):
            inside.set()
            assert leave.wait(60)

    threading.Thread(target=hold, daemon=True).start()
    return inside, leave


def test_who_does_not_fit_waits_until_another_has_gone() -> None:
    gate = PixelGate(100)
    first, first_may_go = enter(gate, 60)
    assert first.wait(60)
    second, second_may_go = enter(gate, 60)
    third, third_may_go = enter(gate, 40)
    assert third.wait(60)
    assert not second.is_set()
    first_may_go.set()
    assert second.wait(60)
    second_may_go.set()
    third_may_go.set()


def test_one_that_is_too_large_by_itself_gets_in_alone() -> None:
    gate = PixelGate(100)
    with gate.hold(1000):
        small, may_go = enter(gate, 1)
        assert not small.wait(0.05)
    assert small.wait(60)
    may_go.set()


def test_a_photo_that_fails_is_counted_out() -> None:
    gate = PixelGate(100)
    with pytest.raises(ValueError, match="broken"), gate.hold(100):
        raise ValueError("broken")
    inside, may_go = enter(gate, 100)
    assert inside.wait(60)
    may_go.set()
