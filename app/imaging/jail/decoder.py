"""One decoding process as the service sees it, and the fork server that they come from."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import app
from app.errors import BrokenPicture, ServiceError
from app.imaging.jail.messages import (
    Decoded,
    Header,
    OutOfMemory,
    Ready,
    Refusal,
    Task,
    error_of,
    mapped,
    receive,
    send,
    shared,
    shared_photo,
)
from app.imaging.photo import Photo

# the code that this process runs, and nothing from the working directory
_SOURCES = str(Path(app.__path__[0]).resolve().parent)
_RUN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from app.imaging.jail.process import main; main()"
)

log = logging.getLogger(__name__)

Reason = Literal["crash", "timeout", "memory"]
"""Why a process died, or was killed."""

Expected = TypeVar("Expected", Ready, Header, Decoded)

_HEADER_S = 5.0
_FIRST_S, _SECONDS_PER_MEGAPIXEL = 5.0, 0.5
_MOST_TASKS = 500  # libraries leak
_START_S = 60.0  # for the fork server to load its libraries on a busy machine


class DecoderDiedError(Exception):
    """The file that it was reading may have killed it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True)
class DecoderLimits:
    """Of one process."""

    memory_bytes: int
    """Beyond what it starts with."""
    seconds: float | None = None
    """For a picture; None: by its size."""

    @property
    def header_seconds(self) -> float:
        return min(self.seconds or _HEADER_S, _HEADER_S)

    def seconds_for(self, pixels: int) -> float:
        return self.seconds or _FIRST_S + _SECONDS_PER_MEGAPIXEL * pixels / 1_000_000


class Decoder:
    """For one thread at a time."""

    def __init__(self, channel: socket.socket) -> None:
        """Wait until the process is ready.  Raises OSError where it does not come up."""
        self._channel = channel
        self._tasks_left = _MOST_TASKS
        try:
            ready, _ = self._expect(Ready, _START_S)
        except DecoderDiedError as error:
            raise OSError(f"a decoding process does not start ({error})") from error
        self.pid = ready.pid
        self.landlock = ready.landlock

    @property
    def is_worn(self) -> bool:
        """Whether it is closed, or has read so many files that a new one is better."""
        return self._tasks_left <= 0

    def is_alive(self) -> bool:
        """Whether it waits for a file, as far as one can see."""
        try:
            self._channel.settimeout(0)
            self._channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # its end, or a message that nobody has asked for

    def read(self, data: bytes, task: Task, limits: DecoderLimits) -> Header | Photo:
        """The header alone, or the photo.

        Raises what its reader raises: BrokenPicture, TooLarge and UnsupportedPicture;
        DecoderDiedError, after which it is of no more use; and MemoryError where the service has no
        memory for the picture.
        """
        try:
            return self._exchange(data, task, limits)
        except ServiceError:
            raise
        except ValueError as error:
            self.kill()
            raise DecoderDiedError("crash", f"it sent nonsense: {error}") from error
        except BaseException:
            self.kill()  # question and answer are out of step
            raise

    def _exchange(self, data: bytes, task: Task, limits: DecoderLimits) -> Header | Photo:
        self._tasks_left -= 1
        self._send(data, task)
        header, _ = self._expect(Header, limits.header_seconds)
        if task.header_only:
            return header
        pixels = header.width * header.height
        decoded, memory = self._expect(Decoded, limits.seconds_for(pixels))
        if memory is None:
            raise ValueError("a photo without its pixels")
        photo = shared_photo(decoded, mapped(memory))
        if photo.width * photo.height != pixels:
            raise BrokenPicture("The picture's sizes contradict each other.")
        return photo

    def _send(self, data: bytes, task: Task) -> None:
        try:
            memory = shared([data])
        except OSError as error:
            raise MemoryError(f"no shared memory: {error}") from error
        try:
            self._channel.settimeout(_START_S)
            send(self._channel, task, memory)
        except OSError as error:
            raise DecoderDiedError("crash", str(error)) from error
        finally:
            os.close(memory)

    def _expect(self, kind: type[Expected], seconds: float) -> tuple[Expected, int | None]:
        """A message of this kind, and its shared memory.

        Raises what the reader refused the file with, DecoderDiedError, and ValueError for nonsense.
        """
        try:
            self._channel.settimeout(seconds)
            message, memory = receive(self._channel)
        except TimeoutError as error:
            raise DecoderDiedError("timeout", f"it took more than {seconds:g} s") from error
        except (EOFError, OSError) as error:
            raise DecoderDiedError("crash", "it is gone") from error
        for note in getattr(message, "notes", ()):  # was logged over there
            log.info("%s", note)
        if isinstance(message, kind):
            return message, memory
        if memory is not None:
            os.close(memory)
        if isinstance(message, Refusal):
            raise error_of(message)
        if isinstance(message, OutOfMemory):
            raise DecoderDiedError("memory", "it ran out of memory")
        raise ValueError(f"{message.kind} instead of {kind.__name__}")

    def kill(self) -> None:
        self.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """An idle process ends when its socket is closed."""
        self._tasks_left = 0
        self._channel.close()


class ForkServer:
    """Started with the first fork, and again where it has died.  Thread-safe."""

    def __init__(self, reader: str, memory_bytes: int) -> None:
        self._arguments = [reader, str(memory_bytes)]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False

    def fork(self) -> Decoder:
        """A new decoding process.  Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with self._lock, theirs:
                self._hand_over(theirs)
            return Decoder(ours)
        except BaseException:
            ours.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stop()

    def _hand_over(self, channel: socket.socket) -> None:
        """Have a process forked at the other end of it."""
        if self._closed:
            raise OSError("the service is stopping")
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._start()
        assert self._control is not None
        socket.send_fds(self._control, [b"fork"], [channel.fileno()])

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", "-c", _RUN, _SOURCES, str(theirs.fileno())]
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_environment(),
                pass_fds=[theirs.fileno()],
            )

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()  # those that it has forked end with their sockets
            self._process.wait()
        self._process = self._control = None


def _environment() -> dict[str, str]:
    """Without the service's secrets.

    Its allocator keeps some freed memory for the next picture, which halves the time of a small
    one, and reserves little address space for threads, which would count as memory.
    """
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("GPEN_")}
    return inherited | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20),
        "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
    }
