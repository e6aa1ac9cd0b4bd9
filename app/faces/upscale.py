"""The photo around the faces, enlarged: by a network where its weights are here, else bicubic.

The network takes a photo in tiles, each seen with a margin of its surroundings, so that memory is
bounded and no seam is left.  It is given the photo's own values: between colour spaces for screens
they differ by less than between two photos, and nothing is lost to conversions of 8 bits.
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

# In features: pixels of the photo, or of one half its size for a network that enlarges twice.
CORE = 384  # a tile's side, at most
# Seen around a tile.  Measured with RealESRGAN_x4plus on four tiles against one: of the values
# 0.04% differ by more than a level, and none by more than 3; with Real-ESRGAN's own margin of 10
# pixels 12% do, by up to 46.
HALO = 48
_SMALLEST_CORE = 32
_SHARE = 0.8  # of a deadline that enlarging may take: pasting and encoding follow
_SAMPLE = 64  # features


@dataclass(frozen=True)
class Upscaler:
    """A network that enlarges photos, and how it is run: a tile at a time."""

    name: str
    network: SuperResolution
    thread: WatchedPool
    """A single one, which may use all cores."""
    pace: Pace
    """Seconds a feature."""
    turn: threading.Lock = field(default_factory=threading.Lock, compare=False)
    """Held for a whole photo: if several took turns at each tile, all of them would be late."""


@dataclass(frozen=True)
class _Tile:
    """Half-open ranges of a photo's rows and columns."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def area(self) -> int:
        return (self.y1 - self.y0) * (self.x1 - self.x0)

    def widened(self, halo: int, height: int, width: int) -> _Tile:
        """With what is seen around it of a photo of this size."""
        return _Tile(
            max(0, self.y0 - halo),
            min(height, self.y1 + halo),
            max(0, self.x0 - halo),
            min(width, self.x1 + halo),
        )

    def halves(self, step: int) -> tuple[_Tile, _Tile]:
        """Cut across its longer side, at a multiple of ``step`` from its beginning."""
        if self.y1 - self.y0 >= self.x1 - self.x0:
            y = self.y0 + (self.y1 - self.y0) // 2 // step * step
            return replace(self, y1=y), replace(self, y0=y)
        x = self.x0 + (self.x1 - self.x0) // 2 // step * step
        return replace(self, x1=x), replace(self, x0=x)


def make_upscaler(name: str, network: SuperResolution, threads: int) -> Upscaler:
    """Warm the network up where it is, and see how long it takes.

    ``threads``: how many it may use of the processor.  Raises FloatingPointError when its output
    is not finite.
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
    """The photo ``scale`` times larger, and by what: None where nothing was to be done.

    Without a network, or where it would take longer than the deadline leaves, bicubic.  Alpha
    always is bilinear, which does not overshoot.  Raises DeadlineExceeded, MemoryFull, and
    FloatingPointError when the network's output is not finite.
    """
    if scale == 1:
        return photo, None
    if upscaler is not None and not _gets_a_turn(upscaler, photo, scale, deadline):
        log.info("%s would take too long", upscaler.name)
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
    """Whether the network was free in time; its turn is then held."""
    spare = _SHARE * deadline.remaining - _seconds(upscaler, photo, scale)
    return spare >= 0 and upscaler.turn.acquire(timeout=min(spare, threading.TIMEOUT_MAX))


def _resized(levels: Levels, scale: int, interpolation: int) -> Levels:
    size = (levels.shape[1] * scale, levels.shape[0] * scale)
    return np.asarray(cv2.resize(levels, size, interpolation=interpolation), dtype=levels.dtype)


def enlarge(
    upscaler: Upscaler, levels: Levels, scale: int, deadline: Deadline = NEVER, *, grey: bool
) -> Levels:
    """(H, W, 3) -> (scale * H, scale * W, 3) of the same depth, 2 or 4 being the scale.

    A network that enlarges twice is used twice for 4: it costs two thirds of what one that enlarges
    four times does.  The result of the latter is reduced for 2.  What is ``grey`` stays grey.
    Raises DeadlineExceeded, MemoryFull and FloatingPointError.
    """
    for reduction in _reductions(upscaler.network.scale, scale):
        levels = _enlarged_once(upscaler, levels, reduction, deadline, grey=grey)
    return levels


def _reductions(native: int, scale: int) -> tuple[int, ...]:
    """For each use of the network, by how much its result is then reduced."""
    return (1, 1) if native < scale else (native // scale,)


def _seconds(upscaler: Upscaler, photo: Photo, scale: int) -> float:
    """About how long the network takes for a photo, if it is alone."""
    network, features = upscaler.network, 0
    height, width = photo.height, photo.width
    for _ in _reductions(network.scale, scale):
        for tile in _tiles(height, width, network.fold):
            seen = tile.widened(HALO * network.fold, height, width)
            features += seen.area // network.fold**2
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
        """Of a tile; more than one where the device has too little memory for it."""
        deadline.check()
        seen = tile.widened(HALO * network.fold, len(rows), len(columns))
        margins = (tile.y0 - seen.y0, seen.y1 - tile.y1, tile.x0 - seen.x0, seen.x1 - tile.x1)
        window = levels[np.ix_(rows[seen.y0 : seen.y1], columns[seen.x0 : seen.x1])]
        try:
            piece = _in_turn(upscaler, window, margins, reduction, deadline, grey=grey)
        except torch.OutOfMemoryError as error:
            if tile.area <= (_SMALLEST_CORE * network.fold) ** 2:
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
            # an odd photo was given another row or column, which there is no room for
            target = result[
                scale * part.y0 : scale * part.y1,
                scale * part.x0 : scale * part.x1,
            ]
            target[:] = piece[: target.shape[0], : target.shape[1]]
    return result


def _indices(side: int, fold: int) -> NDArray[np.intp]:
    """Of the rows or columns that are seen, as many as the network can fold."""
    return np.pad(np.arange(side), (0, -side % fold), mode="reflect")


def _tiles(height: int, width: int, fold: int) -> Iterator[_Tile]:
    for y0, y1 in _parts(height, fold):
        for x0, x1 in _parts(width, fold):
            yield _Tile(y0, y1, x0, x1)


def _parts(side: int, fold: int) -> Iterator[tuple[int, int]]:
    """Even parts of a side, none longer than a tile, and all but the last multiples of ``fold``."""
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
    """A tile by the network, whose pace is learned.  Raises DeadlineExceeded."""

    def work() -> Levels:
        deadline.check()
        start = time.perf_counter()
        piece = _run(upscaler.network, window, margins, reduction, grey=grey)
        features = window.shape[0] * window.shape[1] / upscaler.network.fold**2
        if features >= _SAMPLE**2:  # less tells of overheads
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
