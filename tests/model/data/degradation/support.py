from typing import Any

import numpy as np
import pytest

from model.data.degradation import FloatImage


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def psnr(a: FloatImage, b: FloatImage) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


class Spy:
    """Calls what it stands for as usual, and remembers with what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        self.calls: list[tuple[Any, ...]] = []
        """Positional arguments."""
        self.keywords: list[dict[str, Any]] = []
        real = getattr(owner, name)

        def call(*args, **kwargs):
            self.calls.append(args)
            self.keywords.append(kwargs)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    def arguments(self, place: int) -> list[Any]:
        return [call[place] for call in self.calls]


def fills(values: list[float], lowest: float, highest: float, margin: float = 0.1) -> bool:
    """Whether values lie in a range and reach to near its ends."""
    slack = margin * (highest - lowest)
    return lowest <= min(values) <= lowest + slack and highest - slack <= max(values) <= highest
