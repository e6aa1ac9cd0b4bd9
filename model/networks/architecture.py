"""What tells one GPEN variant from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from model.networks.discriminator import Discriminator
from model.networks.generator import FullGenerator


@dataclass(frozen=True)
class Architecture:
    """A variant: input size in pixels; factors on the number of channels, from 64 px on and all."""

    size: int
    channel_multiplier: int
    narrow: float

    def generator(self) -> FullGenerator:
        """A fresh generator of this variant."""
        return FullGenerator(
            self.size, channel_multiplier=self.channel_multiplier, narrow=self.narrow
        )

    def discriminator(self) -> Discriminator:
        """A fresh discriminator of this variant."""
        return Discriminator(self.size, self.channel_multiplier, self.narrow)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Architecture:
        """Deduce the variant from a generator's weights.

        Raises ValueError when they are not those of a GPEN generator of 64 px or more (below, the
        channel multiplier leaves no trace).
        """
        encoders = [key for key in state if key.startswith("ecd") and key.endswith(".bias")]
        depth = len(encoders)
        if depth < 5 or "generator.input.input" not in state:
            raise ValueError("these are not the weights of a GPEN generator")
        size = 2 ** (depth + 1)
        narrow = state["generator.input.input"].shape[1] / 512
        channels_at_64 = state[f"ecd{depth - 5}.0.{1 if depth == 5 else 2}.bias"].shape[0]
        return cls(size, round(channels_at_64 / (256 * narrow)), narrow)
