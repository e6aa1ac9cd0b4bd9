"""What the clients send, and how slowly some of them read."""

from __future__ import annotations

import asyncio
import time
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from tests.soak.client import Address, Message, form

_PIECE = 16 * 1024


@cache
def portrait(side: int, quality: int = 92, **options: str) -> Message:
    """A request with the astronaut, ``side`` pixels wide, as a JPEG; 1024 pixels make 200 kB."""
    with Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png") as image:
        photo = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return form(buffer.getvalue(), options)


@cache
def noise(side: int, **options: str) -> Message:
    """A request with a square of noise, of three bytes a pixel, and so is its answer in PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return form(buffer.getvalue(), options)


class SlowReader:
    """A client that takes its answer at ``rate`` bytes a second, and gives up when told to."""

    def __init__(self, address: Address, request: Message, rate: float) -> None:
        self.received = 0
        self.status: int | None = None
        self.ended = False
        """The server has closed the connection, or reset it."""
        self._address, self._request, self._rate = address, request, rate
        self._task = asyncio.create_task(self._read())

    async def begun(self) -> None:
        """Wait for the first bytes of the answer."""
        while not (self.received or self._task.done()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def give_up(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _read(self) -> None:
        reader, writer = await asyncio.open_connection(
            self._address.host, self._address.port, limit=_PIECE
        )
        try:
            writer.write(self._request.head + self._request.body)
            await writer.drain()
            piece = await reader.read(_PIECE)
            self.status, start = int(piece[9:12]), time.perf_counter()
            while piece:
                self.received += len(piece)
                due = start + self.received / self._rate - time.perf_counter()
                await asyncio.sleep(max(0.0, due))
                piece = await reader.read(_PIECE)
            self.ended = True
        except ConnectionError:
            self.ended = True
        finally:
            writer.transport.abort()
