"""Photos that show whose they are, and what must come back for each of them.

Below the picture is a grey strip with the photo's number in it, sixteen blocks dark or light.  The
strip must come back to the bit (in PNG), and the face must be, within one level, the face that the
service made of the same picture when it had nothing else to do.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image

from tests.soak.client import Address, Answer, Message, ask, form

Pixels = NDArray[np.uint8]

_BLOCK, _BITS = 8, 16  # pixels a side; a strip fits below a photo 128 pixels wide
_STRIP = (
    2 * _BLOCK
)  # its upper half is plain, so that JPEG's 16 pixel blocks are the face's or ours
_DARK, _GREY, _LIGHT = 112, 128, 144
_MARGIN = 4  # pixels around what changed when the photo was alone
_SAME_FACE = 1  # levels
_LOSSY = 3.0  # mean levels, after another compression
SIDES = (128, 160, 192, 224, 256)
_HEAD = (slice(0, 256), slice(96, 352))  # of the astronaut
_TINTS = ((1.0, 1.0, 1.0), (1.05, 0.9, 0.8), (0.75, 0.85, 1.0))
FACES = 2 * len(_TINTS)


@dataclass(frozen=True)
class Kind:
    """A picture before it gets its number, and the way it is sent."""

    face: int | None
    """None: there is nobody in it."""
    side: int
    file_format: str
    options: tuple[tuple[str, str], ...] = ()
    accept: str = "image/*"


_WAYS: tuple[tuple[str, tuple[tuple[str, str], ...], str], ...] = (
    ("PNG", (), "image/*"),
    ("JPEG", (), "image/*"),
    ("WEBP", (("format", "png"),), "image/*"),
    ("JPEG", (("format", "png"),), "application/json"),
)


def kinds_of_faces(count: int, sides: Sequence[int] = SIDES) -> list[Kind]:
    """Different ones: faces, sizes and formats go round at different paces."""
    return [Kind(i % FACES, sides[i % len(sides)], *_WAYS[i % len(_WAYS)]) for i in range(count)]


def kinds_without_faces(count: int) -> list[Kind]:
    return [replace(kind, face=None) for kind in kinds_of_faces(count)]


@dataclass(frozen=True)
class Photo:
    """A photo with a number of its own, and the answer that belongs to it."""

    number: int
    message: Message
    expected: Pixels
    """Outside of ``face`` to the bit, inside within one level."""
    face: tuple[slice, slice] | None
    lossy: bool
    """The answer is compressed again, so it is only near to what is expected."""

    def fault(self, answer: Answer) -> str | None:
        """What is wrong with a 200, or None."""
        if answer.headers.get("x-request-id") != request_id(self.number):
            return f"the answer has the id {answer.headers.get('x-request-id')}"
        faces = "0" if self.face is None else "1"
        if answer.headers.get("x-faces-restored") != faces:
            return f"{answer.headers.get('x-faces-restored')} faces were restored, not {faces}"
        pixels = _pixels_of(answer)
        if pixels.shape != self.expected.shape:
            return f"the picture has the shape {pixels.shape}, not {self.expected.shape}"
        if (number := read_number(pixels)) != self.number:
            return f"photo {self.number} came back as photo {number}"
        difference = np.abs(pixels.astype(np.int16) - self.expected)
        if self.lossy:
            parts = [difference] if self.face is None else [difference, difference[self.face]]
            if (most := max(float(part.mean()) for part in parts)) > _LOSSY:
                return f"the picture is {most:.1f} levels off on average"
            return None
        if self.face is not None:
            if (most := int(difference[self.face].max())) > _SAME_FACE:
                return f"the face is {most} levels off what it was alone"
            difference[self.face] = 0
        if difference.any():
            return "the picture was changed outside of the face"
        return None


class Album:
    """Prepared photos; no two of those taken out and not yet given back have one number."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self._here = deque(photos)

    def take(self) -> Photo:
        return self._here.popleft()

    def give_back(self, photo: Photo) -> None:
        self._here.append(photo)

    def __len__(self) -> int:
        return len(self._here)


async def photos_of(address: Address, kinds: Sequence[Kind], first: int = 0) -> list[Photo]:
    """A photo of each kind, numbered.  Asks the service about each face alone, one after another.

    About each photo and not only about each kind: the number in the strip moves what the detector
    finds by a hair, and the face by some levels.  Raises RuntimeError when the service does not
    answer as it should even then.
    """
    photos = []
    for number, kind in enumerate(kinds, first):
        sent = _numbered(kind, number)
        pixels = _decode(sent)
        face = None
        if kind.face is not None:
            answer = await ask(address, form(sent, {"format": "png"}))
            restored = answer.headers.get("x-faces-restored")
            if answer.status != 200 or restored != "1":
                raise RuntimeError(f"{kind}: alone it got {answer.label}, {restored} faces")
            alone = _decode(answer.body)
            face = _changed(pixels, alone)
            pixels[face] = alone[face]
        headers = {"X-Request-ID": request_id(number), "Accept": kind.accept}
        message = form(sent, dict(kind.options), headers)
        lossy = kind.file_format == "JPEG" and not kind.options
        photos.append(Photo(number, message, pixels, face, lossy))
    return photos


def request_id(number: int) -> str:
    return f"soak-{number}"


def read_number(pixels: Pixels) -> int:
    strip = pixels[-_BLOCK:, : _BITS * _BLOCK].astype(float).mean(axis=(0, 2))
    bits = strip.reshape(_BITS, _BLOCK).mean(axis=1) > _GREY
    return int(sum(1 << i for i, bit in enumerate(bits) if bit))


def _numbered(kind: Kind, number: int) -> bytes:
    picture = _nobody(kind.side) if kind.face is None else _head(kind.face, kind.side)
    strip = np.full((_STRIP, kind.side, 3), _GREY, np.uint8)
    for i in range(_BITS):
        block = (slice(_BLOCK, None), slice(i * _BLOCK, (i + 1) * _BLOCK))
        strip[block] = _LIGHT if number >> i & 1 else _DARK
    return encoded(np.concatenate([picture, strip]), kind.file_format)


def encoded(pixels: Pixels, file_format: str) -> bytes:
    buffer = BytesIO()
    how: dict[str, dict[str, object]] = {
        "PNG": {"compress_level": 1},
        "JPEG": {"quality": 92},
        "WEBP": {"lossless": True, "method": 0},
    }
    Image.fromarray(pixels).save(buffer, file_format, **how[file_format])
    return buffer.getvalue()


@cache
def _head(face: int, side: int) -> Pixels:
    """One of the faces: the astronaut, mirrored, in another light."""
    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    with Image.open(path) as image:
        head = Image.fromarray(np.asarray(image.convert("RGB"))[_HEAD])
    pixels = np.asarray(head.resize((side, side), Image.Resampling.BOX)).astype(float)
    if face % 2:
        pixels = pixels[:, ::-1]
    return np.clip(pixels * _TINTS[face // 2], 0, 255).astype(np.uint8)


@cache
def _nobody(side: int) -> Pixels:
    """A slope of colours with some grain."""
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    grain = np.random.default_rng(side).normal(0, 4, (side, side))
    colours = np.stack([80 + 120 * x, 200 - 90 * y, 60 + 60 * (x + y)], axis=2)
    return np.clip(colours + grain[..., None], 0, 255).astype(np.uint8)


def _changed(sent: Pixels, alone: Pixels) -> tuple[slice, slice]:
    """Rows and columns around what the service changed; never the strip."""
    rows, columns = np.nonzero((sent != alone).any(axis=2))
    if not len(rows):
        raise RuntimeError("the service restored a face and changed nothing")
    top, left = max(0, rows.min() - _MARGIN), max(0, columns.min() - _MARGIN)
    return (
        slice(int(top), int(min(rows.max() + _MARGIN, len(sent) - _STRIP))),
        slice(int(left), int(columns.max() + _MARGIN)),
    )


def _pixels_of(answer: Answer) -> Pixels:
    if answer.headers.get("content-type") == "application/json":
        return _decode(base64.b64decode(json.loads(answer.body)["image"]))
    return _decode(answer.body)


def _decode(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as image:
        return np.array(image.convert("RGB"))
