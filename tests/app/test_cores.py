import os

import pytest

from app.cores import core_count


@pytest.fixture
def cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("9900000 100000\n", 8),
    ],
)
def test_the_quota_counts_where_it_is_less(tmp_path, cores, text, expected):
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert core_count(file) == expected


def test_without_a_control_group_all_that_it_may_run_on(tmp_path, cores):
    assert core_count(tmp_path / "missing") == cores


def test_there_is_one_at_least():
    assert core_count() >= 1
