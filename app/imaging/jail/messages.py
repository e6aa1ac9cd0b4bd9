"""What goes between the service and its decoding processes.

A message is a line of JSON, in one packet of a socket, and at most one piece of shared memory.  The
service never unpickles anything: a process that a picture has taken over sends what it likes.
"""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import socket
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, TypeAdapter

from app.errors import BrokenPicture, TooLarge, UnsupportedPicture
from app.imaging.photo import FileFormat, GainMap, Photo

_MOST_BYTES = 2**16  # of a message
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_REFUSALS = {kind.slug: kind for kind in (BrokenPicture, TooLarge, UnsupportedPicture)}


class Task(BaseModel):
    """A file to read.  It comes with the file's bytes."""

    header_only: bool
    max_pixels: int


class Ready(BaseModel):
    """The first message of a process."""

    kind: Literal["ready"] = "ready"
    pid: int
    landlock: int
    """Version of Landlock's interface; 0 where the kernel has none."""


class Header(BaseModel):
    """Before the photo, or alone where nothing else was asked for."""

    kind: Literal["header"] = "header"
    width: int
    """In pixels, as stored: the photo may come out turned.  Likewise the height."""
    height: int
    notes: tuple[str, ...]
    """What the readers logged."""


class SharedGainMap(BaseModel):
    """A :class:`GainMap`, whose bytes come after the others."""

    jpeg: int = Field(ge=0)
    """Bytes; likewise the XMP."""
    xmp: int = Field(ge=0)
    marked_xmp: int = Field(ge=0)
    in_xmp: bool
    iso: bool


class Decoded(BaseModel):
    """A :class:`Photo`, whose bytes come with it in shared memory, in the order of the lengths."""

    kind: Literal["decoded"] = "decoded"
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    deep: bool
    alpha: bool
    grey: bool
    file_format: FileFormat
    exif: int = Field(ge=0)
    """Bytes; likewise the next four."""
    xmp: int = Field(ge=0)
    marked_xmp: int = Field(ge=0)
    iptc: int = Field(ge=0)
    icc_profile: int | None = Field(ge=0)
    shows_as_srgb: bool
    dpi: tuple[float, float] | None
    lossless: bool
    gain_map: SharedGainMap | None
    notes: tuple[str, ...]


class Refusal(BaseModel):
    kind: Literal["refusal"] = "refusal"
    slug: str
    detail: str
    notes: tuple[str, ...]


class OutOfMemory(BaseModel):
    """The process ends after it."""

    kind: Literal["memory"] = "memory"


Message = Annotated[Ready | Header | Decoded | Refusal | OutOfMemory, Field(discriminator="kind")]
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


def send(channel: socket.socket, message: BaseModel, memory: int | None = None) -> None:
    """``memory`` is a file descriptor.  Raises OSError."""
    fds = [] if memory is None else [memory]
    socket.send_fds(channel, [message.model_dump_json().encode()], fds)


def receive(channel: socket.socket) -> tuple[Message, int | None]:
    """An answer, and its shared memory.

    Raises EOFError where the other side is gone, OSError, and ValueError for what is no answer.
    """
    data, memory = receive_bytes(channel)
    try:
        return _MESSAGE.validate_json(data), memory
    except ValueError:
        if memory is not None:
            os.close(memory)
        raise


def receive_bytes(channel: socket.socket) -> tuple[bytes, int | None]:
    """A message as it came, and its shared memory.  Raises EOFError, OSError."""
    fds = array.array("i")
    room = socket.CMSG_LEN(fds.itemsize)
    data, ancillary, _, _ = channel.recvmsg(_MOST_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for _, _, packed in ancillary:
        fds.frombytes(packed)
    if not data:
        raise EOFError
    return data, fds[0] if fds else None


def refusal_of(error: BrokenPicture | TooLarge | UnsupportedPicture, notes: list[str]) -> Refusal:
    return Refusal(slug=error.slug, detail=error.detail, notes=tuple(notes))


def error_of(refusal: Refusal) -> BrokenPicture | TooLarge | UnsupportedPicture:
    """Raises ValueError for another error than a reader's."""
    if refusal.slug not in _REFUSALS:
        raise ValueError(f"a decoder refuses with {refusal.slug!r}")
    return _REFUSALS[refusal.slug](refusal.detail)


# --- Shared memory: anonymous, so that nothing of it is left whoever dies


def shared(parts: Sequence[bytes | memoryview]) -> int:
    """The parts one after the other, in memory whose size nobody can change any more.

    Returns a file descriptor, which is the caller's.  Raises OSError.
    """
    memory = os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(memory, "wb", closefd=False) as file:
            for part in parts:
                file.write(part)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(memory)
        raise
    return memory


def mapped(memory: int) -> memoryview:
    """All of a piece of shared memory, writable; its descriptor is closed.

    Raises ValueError where its size could still change: reading beyond its end would end the
    process.
    """
    try:
        if fcntl.fcntl(memory, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise ValueError("the shared memory is not sealed")
        if not (size := os.fstat(memory).st_size):
            return memoryview(b"")
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        return memoryview(mmap.mmap(memory, size, flags))
    finally:
        os.close(memory)


# --- Photos


def share_photo(photo: Photo, notes: list[str]) -> tuple[Decoded, int]:
    """A photo as a message, and its shared memory.  Raises OSError."""
    decoded = Decoded(
        width=photo.width,
        height=photo.height,
        deep=photo.pixels.dtype == np.uint16,
        alpha=photo.alpha is not None,
        grey=photo.grey,
        file_format=photo.file_format,
        exif=len(photo.exif),
        xmp=len(photo.xmp),
        marked_xmp=len(photo.marked_xmp),
        iptc=len(photo.iptc),
        icc_profile=None if photo.icc_profile is None else len(photo.icc_profile),
        shows_as_srgb=photo.shows_as_srgb,
        dpi=photo.dpi,
        lossless=photo.lossless,
        gain_map=None if photo.gain_map is None else _described(photo.gain_map),
        notes=tuple(notes),
    )
    parts: list[bytes | memoryview] = [np.ascontiguousarray(photo.pixels).data]
    if photo.alpha is not None:
        parts.append(np.ascontiguousarray(photo.alpha).data)
    parts += [photo.exif, photo.xmp, photo.marked_xmp, photo.iptc, photo.icc_profile or b""]
    if photo.gain_map is not None:
        parts += [photo.gain_map.jpeg, photo.gain_map.xmp, photo.gain_map.marked_xmp]
    return decoded, shared(parts)


def shared_photo(decoded: Decoded, memory: memoryview) -> Photo:
    """The photo of a message; its pixels stay where they are.

    Raises ValueError where the memory holds less than the message says.
    """
    reader = _Reader(memory)
    kind = np.dtype(np.uint16 if decoded.deep else np.uint8)
    pixels = reader.levels((decoded.height, decoded.width, 3), kind)
    alpha = reader.levels((decoded.height, decoded.width), kind) if decoded.alpha else None
    exif, xmp = reader.text(decoded.exif), reader.text(decoded.xmp)
    marked_xmp, iptc = reader.text(decoded.marked_xmp), reader.text(decoded.iptc)
    profile = None if decoded.icc_profile is None else reader.text(decoded.icc_profile)
    return Photo(
        pixels,
        alpha,
        decoded.grey,
        file_format=decoded.file_format,
        exif=exif,
        icc_profile=profile,
        shows_as_srgb=decoded.shows_as_srgb,
        xmp=xmp,
        marked_xmp=marked_xmp,
        iptc=iptc,
        dpi=decoded.dpi,
        lossless=decoded.lossless,
        gain_map=None if decoded.gain_map is None else _gain_map(decoded.gain_map, reader),
    )


def _described(gain_map: GainMap) -> SharedGainMap:
    return SharedGainMap(
        jpeg=len(gain_map.jpeg),
        xmp=len(gain_map.xmp),
        marked_xmp=len(gain_map.marked_xmp),
        in_xmp=gain_map.in_xmp,
        iso=gain_map.iso,
    )


def _gain_map(shared: SharedGainMap, reader: _Reader) -> GainMap:
    jpeg, xmp, marked_xmp = map(reader.text, (shared.jpeg, shared.xmp, shared.marked_xmp))
    return GainMap(jpeg, shared.in_xmp, shared.iso, xmp, marked_xmp)


class _Reader:
    """Takes parts off the front of shared memory; ValueError at its end."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._at = 0

    def levels(self, shape: tuple[int, ...], kind: np.dtype[np.generic]) -> NDArray[np.generic]:
        taken = self._take(int(np.prod(shape, dtype=object)) * kind.itemsize)
        return np.frombuffer(taken, kind).reshape(shape)

    def text(self, size: int) -> bytes:
        return bytes(self._take(size))

    def _take(self, size: int) -> memoryview:
        end = self._at + size
        if end > len(self._memory):
            raise ValueError("the shared memory is too short")
        taken, self._at = self._memory[self._at : end], end
        return taken
