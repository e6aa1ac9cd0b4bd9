import pytest

from app.serving.pace import Cost, Pace


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


def test_faces_of_a_large_photo_are_detected_in_a_smaller_one() -> None:
    cost = Cost(photo=0.1, megapixel=0.05, searched=0.3, most_searched=4)
    assert cost.of(1_000_000) == pytest.approx(0.1 + 0.05 + 0.3)
    assert cost.of(12_000_000) == pytest.approx(0.1 + 12 * 0.05 + 4 * 0.3)
    assert cost.of(4_000_000, scale=2) == pytest.approx(0.1 + 4 * 0.05 + 1 * 0.3)
