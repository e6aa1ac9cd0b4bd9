"""The parameters that distinguish the variants of GPEN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from model.networks.discriminator import Discriminator
from model.networks.generator import FullGenerator


@dataclass(frozen=True)
class Architecture:
    """A variant of GPEN."""

    size: int
    """Width and height of the pictures, in pixels."""
    channel_multiplier: int
    """Factor on the number of channels at resolutions of 64 px and more."""
    narrow: float
    """Factor on the number of channels at all resolutions."""

    def generator(self) -> FullGenerator:
        """A generator of this variant with random weights."""
        return FullGenerator(
            self.size, channel_multiplier=self.channel_multiplier, narrow=self.narrow
        )

    def discriminator(self) -> Discriminator:
        """A discriminator of this variant with random weights."""
        return Discriminator(self.size, self.channel_multiplier, self.narrow)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Architecture:
        """Deduce the variant from a generator's state dict.

        Raises ValueError unless it is that of a GPEN generator of 64 px or more; smaller ones have
        no layer from which the channel multiplier could be deduced.
        """
        encoders = [key for key in state if key.startswith("ecd") and key.endswith(".bias")]
        depth = len(encoders)
        if depth < 5 or "generator.input.input" not in state:
            raise ValueError("these are not the weights of a GPEN generator")
        size = 2 ** (depth + 1)
        narrow = state["generator.input.input"].shape[1] / 512
        channels_at_64 = state[f"ecd{depth - 5}.0.{1 if depth == 5 else 2}.bias"].shape[0]
        return cls(size, round(channels_at_64 / (256 * narrow)), narrow)
