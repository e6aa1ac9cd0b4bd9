"""Enlarging photos: by a network if its weights are on this machine, else bicubically.

The network processes a photo in tiles, each with a margin of its surroundings, which bounds the
memory and avoids seams.  Its input is the photo's values without colour conversion: colour spaces
for screens differ less than photos do, and converting 8-bit values would lose precision.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from app.deadline import NEVER, Deadline
from app.errors import MemoryFull
from app.imaging.photo import Levels, Photo, is_black_and_white
from app.pace import Pace
from app.threads import WatchedPool
from model.networks.super_resolution import Margins, SuperResolution

log = logging.getLogger(__name__)

CLASSICAL = "bicubic"

# The following are in features: pixels of the photo, or blocks of 2x2 pixels for a network that
# enlarges by 2.
CORE = 384  # maximum side of a tile
# Margin around a tile.  Measured with RealESRGAN_x4plus, four tiles against one: 0.04% of the
# values differ by more than a level, and none by more than 3.  With Real-ESRGAN's own margin of 10
# pixels, 12% differ by more than a level, by up to 46.
HALO = 48
_MIN_CORE = 32
_SHARE = 0.8  # share of the remaining time for enlarging; pasting and encoding follow
_SAMPLE = 64  # side of the square on which the pace is measured


@dataclass(frozen=True)
class Upscaler:
    """A network that enlarges photos, and the thread that runs it, one tile at a time."""

    name: str
    network: SuperResolution
    thread: WatchedPool
    """A single thread, which may use all cores."""
    pace: Pace
    """Seconds per feature."""
    turn: threading.Lock = field(default_factory=threading.Lock, compare=False)
    """Held for a whole photo: if photos alternated tile by tile, all of them would be late."""


@dataclass(frozen=True)
class _Tile:
    """A rectangle of a photo, as half-open ranges of rows and columns."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def area(self) -> int:
        return (self.y1 - self.y0) * (self.x1 - self.x0)

    def widened(self, halo: int, height: int, width: int) -> _Tile:
        """The tile with a margin of ``halo`` pixels, clipped to a photo of this size."""
        return _Tile(
            max(0, self.y0 - halo),
            min(height, self.y1 + halo),
            max(0, self.x0 - halo),
            min(width, self.x1 + halo),
        )

    def halves(self, step: int) -> tuple[_Tile, _Tile]:
        """Split the longer side at a multiple of ``step`` from its beginning."""
        if self.y1 - self.y0 >= self.x1 - self.x0:
            y = self.y0 + (self.y1 - self.y0) // 2 // step * step
            return replace(self, y1=y), replace(self, y0=y)
        x = self.x0 + (self.x1 - self.x0) // 2 // step * step
        return replace(self, x1=x), replace(self, x0=x)


def make_upscaler(name: str, network: SuperResolution, threads: int) -> Upscaler:
    """Warm the network up on its device, and measure its pace.

    ``threads``: how many CPU threads it may use.  Raises FloatingPointError if its output is not
    finite.
    """
    thread = WatchedPool(1, "gpen-upscale", threads)
    side = _SAMPLE * network.fold
    sample = np.full((side, side, 3), 128, np.uint8)
    for _ in range(2):
        start = time.perf_counter()
        thread.submit(_run, network, sample, (0, 0, 0, 0), 1, grey=False).result()
    return Upscaler(name, network, thread, Pace((time.perf_counter() - start) / _SAMPLE**2))


def upscaled(
    photo: Photo, scale: int, upscaler: Upscaler | None = None, deadline: Deadline = NEVER
) -> tuple[Photo, str | None]:
    """The photo ``scale`` times larger (1, 2 or 4), and what enlarged it; None for a scale of 1.

    Bicubic without a network, or if the network would exceed the deadline.  Alpha is always
    bilinear, which does not overshoot.  Raises DeadlineExceeded, MemoryFull, and FloatingPointError
    if the network's output is not finite.
    """
    if scale == 1:
        return photo, None
    if upscaler is not None and not _gets_a_turn(upscaler, photo, scale, deadline):
        log.info("%s would exceed the deadline", upscaler.name)
        upscaler = None
    if upscaler is None:
        pixels = _resized(photo.pixels, scale, cv2.INTER_CUBIC)
    else:
        try:
            grey = photo.grey or is_black_and_white(photo.pixels)
            pixels = enlarge(upscaler, photo.pixels, scale, deadline, grey=grey)
        finally:
            upscaler.turn.release()
    alpha = photo.alpha
    if alpha is not None:
        alpha = _resized(alpha, scale, cv2.INTER_LINEAR)
    by = CLASSICAL if upscaler is None else upscaler.name
    log.info("%dx%d pixels enlarged %d times by %s", photo.width, photo.height, scale, by)
    return replace(photo, pixels=pixels, alpha=alpha), by


def _gets_a_turn(upscaler: Upscaler, photo: Photo, scale: int, deadline: Deadline) -> bool:
    """Wait for the network as long as the deadline allows; if True, the caller holds its lock."""
    spare = _SHARE * deadline.remaining - _seconds(upscaler, photo, scale)
    return spare >= 0 and upscaler.turn.acquire(timeout=min(spare, threading.TIMEOUT_MAX))


def _resized(levels: Levels, scale: int, interpolation: int) -> Levels:
    size = (levels.shape[1] * scale, levels.shape[0] * scale)
    return np.asarray(cv2.resize(levels, size, interpolation=interpolation), dtype=levels.dtype)


def enlarge(
    upscaler: Upscaler, levels: Levels, scale: int, deadline: Deadline = NEVER, *, grey: bool
) -> Levels:
    """(H, W, 3) -> (scale * H, scale * W, 3) of the same depth; ``scale`` is 2 or 4.

    For a scale of 4, a network that enlarges by 2 is applied twice, which costs two thirds of one
    that enlarges by 4.  For a scale of 2, the result of the latter is halved.  A ``grey`` photo
    stays grey.  Raises DeadlineExceeded, MemoryFull and FloatingPointError.
    """
    for reduction in _reductions(upscaler.network.scale, scale):
        levels = _enlarged_once(upscaler, levels, reduction, deadline, grey=grey)
    return levels


def _reductions(native: int, scale: int) -> tuple[int, ...]:
    """For each application of the network, the factor by which its result is then shrunk."""
    return (1, 1) if native < scale else (native // scale,)


def _seconds(upscaler: Upscaler, photo: Photo, scale: int) -> float:
    """An estimate of how long the network takes for a photo."""
    network, features = upscaler.network, 0
    height, width = photo.height, photo.width
    for _ in _reductions(network.scale, scale):
        for tile in _tiles(height, width, network.fold):
            window = tile.widened(HALO * network.fold, height, width)
            features += window.area // network.fold**2
        height, width = height * network.scale, width * network.scale
    return features * upscaler.pace.seconds


def _enlarged_once(
    upscaler: Upscaler, levels: Levels, reduction: int, deadline: Deadline, *, grey: bool
) -> Levels:
    network = upscaler.network
    height, width = levels.shape[:2]
    scale = network.scale // reduction
    result = np.empty((height * scale, width * scale, 3), levels.dtype)
    rows, columns = _indices(height, network.fold), _indices(width, network.fold)

    def pieces(tile: _Tile) -> Iterator[tuple[_Tile, Levels]]:
        """A tile enlarged, or its halves if the device has too little memory for the whole."""
        deadline.check()
        wide = tile.widened(HALO * network.fold, len(rows), len(columns))
        margins = (tile.y0 - wide.y0, wide.y1 - tile.y1, tile.x0 - wide.x0, wide.x1 - tile.x1)
        window = levels[np.ix_(rows[wide.y0 : wide.y1], columns[wide.x0 : wide.x1])]
        try:
            piece = _in_turn(upscaler, window, margins, reduction, deadline, grey=grey)
        except torch.OutOfMemoryError as error:
            if tile.area <= (_MIN_CORE * network.fold) ** 2:
                raise MemoryFull(
                    "The device has too little memory to enlarge a photo.", retry_after=1
                ) from error
        else:
            yield tile, piece
            return
        for half in tile.halves(network.fold):
            yield from pieces(half)

    for tile in _tiles(len(rows), len(columns), network.fold):
        for part, piece in pieces(tile):
            # the row or column that pads an odd side is cut off
            target = result[
                scale * part.y0 : scale * part.y1,
                scale * part.x0 : scale * part.x1,
            ]
            target[:] = piece[: target.shape[0], : target.shape[1]]
    return result


def _indices(side: int, fold: int) -> NDArray[np.intp]:
    """Indices of a side's rows or columns, mirrored at the end to a multiple of ``fold``."""
    return np.pad(np.arange(side), (0, -side % fold), mode="reflect")


def _tiles(height: int, width: int, fold: int) -> Iterator[_Tile]:
    for y0, y1 in _parts(height, fold):
        for x0, x1 in _parts(width, fold):
            yield _Tile(y0, y1, x0, x1)


def _parts(side: int, fold: int) -> Iterator[tuple[int, int]]:
    """Split a side into parts of about equal length, each at most CORE * fold.

    All parts but the last are multiples of ``fold``.
    """
    count = math.ceil(side / (CORE * fold))
    step = math.ceil(side / count / fold) * fold
    for start in range(0, side, step):
        yield start, min(start + step, side)


def _in_turn(
    upscaler: Upscaler,
    window: Levels,
    margins: Margins,
    reduction: int,
    deadline: Deadline,
    *,
    grey: bool,
) -> Levels:
    """Enlarge a tile in the network's thread, and update its pace.  Raises DeadlineExceeded."""

    def work() -> Levels:
        deadline.check()
        start = time.perf_counter()
        piece = _run(upscaler.network, window, margins, reduction, grey=grey)
        features = window.shape[0] * window.shape[1] / upscaler.network.fold**2
        if features >= _SAMPLE**2:  # smaller tiles measure mostly overhead
            upscaler.pace.note((time.perf_counter() - start) / features)
        return piece

    future = upscaler.thread.submit(work)
    try:
        return future.result(None if math.isinf(deadline.remaining) else deadline.remaining)
    except TimeoutError as error:
        raise deadline.error() from error


@torch.inference_mode()
def _run(
    network: SuperResolution, window: Levels, margins: Margins, reduction: int, *, grey: bool
) -> Levels:
    peak = np.iinfo(window.dtype).max
    x = torch.from_numpy(window.astype(np.float32)).to(network.device) / peak
    picture = network(x.permute(2, 0, 1)[None], margins)  # channels last in memory
    if not bool(torch.isfinite(picture).all()):
        raise FloatingPointError("the network's output is not finite")
    picture = picture.clamp(0, 1)
    if reduction > 1:
        picture = F.avg_pool2d(picture, reduction)
    if grey:
        picture = picture.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    levels = (picture[0].permute(1, 2, 0) * peak).round()
    result: Levels = levels.cpu().numpy().astype(window.dtype)
    return result
