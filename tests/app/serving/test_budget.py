"""How much memory there is."""

from pathlib import Path

import pytest

from app.serving import budget
from app.serving.budget import memory_bytes, pixels_alone_by_memory, pixels_by_memory


def test_a_container_s_limit_counts(tmp_path: Path) -> None:
    physical = memory_bytes(())
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    assert memory_bytes((limit,)) == physical
    limit.write_text("2000000000\n")
    assert memory_bytes((limit, tmp_path / "absent")) == min(physical, 2_000_000_000)


def test_a_pod_of_four_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone's photo of 12 megapixels that is to have 48 fits, when it is alone."""
    monkeypatch.setattr(budget, "memory_bytes", lambda: 4 * 2**30)
    assert pixels_by_memory() == 25_769_803
    assert 48_000_000 < pixels_alone_by_memory() < 160_000_000
