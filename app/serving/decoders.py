"""The pool of decoding processes that the settings describe."""

from __future__ import annotations

from collections.abc import Callable

from app.imaging.jail.decoder import DecoderLimits, Reason
from app.imaging.jail.pool import DecoderPool
from app.settings import Settings

_BASE_BYTES, _BYTES_PER_PIXEL = 256_000_000, 60


def decoder_pool(
    settings: Settings, cores: int, on_death: Callable[[Reason], None] = lambda _: None
) -> DecoderPool:
    """A pool, not started yet.

    By default it has a process for each of the ``cores``, since that many threads decode photos,
    and one more, so that reading a header need not wait for photos.
    """
    megabytes = settings.decode_memory_mb
    memory = megabytes * 1_000_000 if megabytes is not None else memory_for(settings.max_pixels)
    limits = DecoderLimits(memory, settings.decode_timeout_s)
    return DecoderPool(settings.decoders or cores + 1, limits, on_death)


def memory_for(max_pixels: int) -> int:
    """Bytes needed to decode a photo of ``max_pixels``.

    Measured for the worst case, a 16-bit PNG with alpha, which two libraries read.
    """
    return _BASE_BYTES + _BYTES_PER_PIXEL * max_pixels
