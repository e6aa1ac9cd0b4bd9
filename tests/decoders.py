"""Decoding as the service does it, for tests of files that may crash their decoder."""

from __future__ import annotations

from app.imaging.jail.decoder import DecoderLimits
from app.imaging.jail.pool import DecoderPool


class SharedDecoders(DecoderPool):
    """Started at its first use, and left to all that follow: it ends with the tests' process."""

    def start(self) -> None:
        if not self._idle:
            super().start()

    def close(self) -> None:
        pass


decoders = SharedDecoders(2, DecoderLimits(2**31))
