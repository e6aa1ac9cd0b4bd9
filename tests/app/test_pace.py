import pytest

from app.pace import Pace


def test_a_wrong_first_guess_is_soon_forgotten() -> None:
    pace = Pace(10.0)
    for _ in range(9):
        pace.note(1.0)
    assert pace.seconds == pytest.approx(1.9)


def test_it_follows_what_changes_but_not_every_hiccup() -> None:
    pace = Pace(1.0)
    for _ in range(50):
        pace.note(1.0)
    pace.note(5.0)
    assert pace.seconds < 1.5
    for _ in range(30):
        pace.note(3.0)
    assert pace.seconds == pytest.approx(3, rel=0.05)
