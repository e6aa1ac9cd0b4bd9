"""A pool of decoding processes, of which any may die at any time."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from app.errors import BrokenPicture, MemoryFull
from app.imaging.jail.decoder import Decoder, DecoderDiedError, DecoderLimits, ForkServer, Reason
from app.imaging.jail.messages import Header, Task
from app.imaging.photo import Photo

log = logging.getLogger(__name__)

_READER = "app.imaging.decode"  # the module that reads pictures
_ATTEMPTS = 2  # at a file whose process crashed, for another may have killed it
_DETAILS: dict[Reason, str] = {
    "crash": "The picture is broken: its decoder crashed.",
    "timeout": "The picture takes too long to decode.",
    "memory": "The picture takes too much memory to decode.",
}


class DecodersError(ValueError):
    """The pool cannot start."""


class DecoderPool:
    """Reads pictures as :mod:`app.imaging.decode` does, each in a process that may die of it.

    Thread-safe; each call holds one of ``size`` processes, or waits for one.  ``on_death`` is told
    why a process died.  The processes end with :meth:`close`, or with the service.
    """

    def __init__(
        self,
        size: int,
        limits: DecoderLimits,
        on_death: Callable[[Reason], None] = lambda _: None,
        reader: str = _READER,
    ) -> None:
        self.size = size
        self._limits = limits
        self._on_death = on_death
        self._server = ForkServer(reader, limits.memory_bytes)
        self._places = threading.Semaphore(size)
        self._idle: list[Decoder] = []
        self._failing_since: float | None = None

    def start(self) -> None:
        """Raises DecodersError where no process can be started."""
        try:
            started = [self._server.fork() for _ in range(self.size)]
        except OSError as error:
            self.close()
            raise DecodersError(f"pictures cannot be decoded: {error}") from error
        self._idle += started
        if version := started[0].landlock:
            log.info("%d decoders, kept from all files by Landlock %d", self.size, version)
        else:
            log.warning("%d decoders; this kernel has no Landlock to confine them", self.size)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Whoever still reads gets an error."""
        self._server.close()
        while self._idle:
            self._idle.pop().close()

    @property
    def failing_seconds(self) -> float:
        """For how long no process could be started; 0 if the last one could."""
        since = self._failing_since
        return 0.0 if since is None else time.monotonic() - since

    def measure(self, data: bytes, max_pixels: int) -> int:
        """Number of pixels, by the header alone.  Raises as :meth:`decode` does."""
        header = self._read(data, Task(header_only=True, max_pixels=max_pixels))
        assert isinstance(header, Header)
        return header.width * header.height

    def decode(self, data: bytes, max_pixels: int) -> Photo:
        """Decode the first frame of a picture.

        Raises UnsupportedPicture, TooLarge (over ``max_pixels``), BrokenPicture (also for one that
        its process died of), and MemoryFull where no process can be started.
        """
        photo = self._read(data, Task(header_only=False, max_pixels=max_pixels))
        assert isinstance(photo, Photo)
        return photo

    def _read(self, data: bytes, task: Task) -> Header | Photo:
        """Once more where the process crashed: it may have been killed for another reason."""
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                with self._decoder() as decoder:
                    return decoder.read(data, task, self._limits)
            except DecoderDiedError as death:
                self._on_death(death.reason)
                digest = hashlib.sha256(data).hexdigest()
                log.warning("decoder died, %s; %d bytes, SHA-256 %s", death, len(data), digest)
                if death.reason != "crash" or not attempts_left:
                    raise BrokenPicture(_DETAILS[death.reason]) from death
        raise AssertionError("unreachable")

    @contextmanager
    def _decoder(self) -> Iterator[Decoder]:
        """A process for one file.  Raises MemoryFull."""
        with self._places:
            decoder = self._idle_one() or self._new_one()
            try:
                yield decoder
            finally:
                if decoder.is_worn:
                    decoder.close()
                else:
                    self._idle.append(decoder)

    def _idle_one(self) -> Decoder | None:
        """The one that was used last, whose memory is warm; None where all have died."""
        while True:
            try:
                decoder = self._idle.pop()
            except IndexError:
                return None
            if decoder.is_alive():
                return decoder
            decoder.close()

    def _new_one(self) -> Decoder:
        try:
            decoder = self._server.fork()
        except OSError as error:
            self._failing_since = self._failing_since or time.monotonic()
            log.critical("no decoding process can be started: %s", error)
            raise MemoryFull("No picture can be decoded now.", 1) from error
        self._failing_since = None
        return decoder
