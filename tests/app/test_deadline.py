import time

import pytest

from app.deadline import NEVER, Deadline
from app.errors import DeadlineExceeded


def test_it_passes() -> None:
    deadline = Deadline(0.02)
    deadline.check()
    assert 0 < deadline.remaining <= 0.02
    time.sleep(0.03)
    assert deadline.remaining == 0
    with pytest.raises(DeadlineExceeded, match=r"0\.02 s"):
        deadline.check()


def test_it_passes_at_once_when_nobody_waits_any_more() -> None:
    deadline = Deadline(1000)
    deadline.end()
    with pytest.raises(DeadlineExceeded):
        deadline.check()


def test_never() -> None:
    assert not NEVER.passed
    NEVER.check()
