"""The other side of the pool: a fork server, and the decoding processes that it forks.

Its arguments are SOCKET READER MEMORY: the number of an inherited socket, the module that reads
pictures, and the bytes that a process may take.  The fork server loads the readers once, and no
model, so that a new process is there in milliseconds.  It forks one for each socket that it is
sent, and ends with the service.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import socket
import sys
import traceback
from contextlib import AbstractContextManager
from typing import Protocol

from app.errors import BrokenPicture, TooLarge, UnsupportedPicture
from app.imaging.jail.confinement import allow_processor_time, confine, ignore_signals
from app.imaging.jail.messages import (
    Header,
    OutOfMemory,
    Ready,
    Task,
    mapped,
    receive_bytes,
    refusal_of,
    send,
    share_photo,
)
from app.imaging.photo import Photo

_CPU_SECONDS = 120  # for a task: a last resort, beyond what the pool waits


class Picture(Protocol):
    width: int
    height: int

    def read(self) -> Photo: ...


class Reader(Protocol):
    """What a module that reads pictures has."""

    def quieten_readers(self) -> None: ...

    def load_readers(self) -> None: ...

    def opened(self, data: bytes, max_pixels: int) -> AbstractContextManager[Picture]:
        """A picture whose header is read.  Here and in ``read``, raises BrokenPicture, TooLarge and
        UnsupportedPicture.
        """
        ...


class _Notes(logging.Handler):
    """Keeps what is logged until it can be sent."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) < 8:
            self._lines.append(record.getMessage()[:500])

    def take(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines


def serve_forks(control: socket.socket, reader: Reader, memory_bytes: int) -> None:
    """Fork a process for each socket that comes, until the service is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    gc.freeze()  # what is shared with the forked stays shared
    while True:
        message, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        channel = socket.socket(fileno=fds[0])
        try:
            child = os.fork()
        except OSError:
            child = -1  # the service sees its socket closed
        if child == 0:
            control.close()
            try:
                work(channel, reader, memory_bytes)
            except BaseException:  # noqa: BLE001  (there is nobody to raise it to)
                traceback.print_exc()
            finally:
                os._exit(0)
        channel.close()


def work(channel: socket.socket, reader: Reader, memory_bytes: int) -> None:
    """Give up everything but the socket, and read the files that come through it."""
    notes = _Notes()
    logging.basicConfig(level=logging.INFO, handlers=[notes], force=True)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    sys.stderr = os.fdopen(os.dup(2), "w")  # for tracebacks
    os.dup2(0, 2)  # for libraries, which chatter about broken files
    send(channel, Ready(pid=os.getpid(), landlock=confine(memory_bytes)))
    while True:
        try:
            message, memory = receive_bytes(channel)
        except (EOFError, ConnectionError):
            return
        assert memory is not None
        allow_processor_time(_CPU_SECONDS)
        try:
            _read(channel, Task.model_validate_json(message), memory, reader, notes)
        except MemoryError:
            send(channel, OutOfMemory())
            return


def _read(channel: socket.socket, task: Task, memory: int, reader: Reader, notes: _Notes) -> None:
    """One task.  Raises MemoryError."""
    try:
        data = bytes(mapped(memory))
        with reader.opened(data, task.max_pixels) as picture:
            send(
                channel,
                Header(width=picture.width, height=picture.height, notes=tuple(notes.take())),
            )
            if task.header_only:
                return
            photo = picture.read()
        decoded, pixels = share_photo(photo, notes.take())
    except (BrokenPicture, TooLarge, UnsupportedPicture) as error:
        send(channel, refusal_of(error, notes.take()))
        return
    try:
        send(channel, decoded, pixels)
    finally:
        os.close(pixels)


def main() -> None:
    number, module, memory_bytes = sys.argv[1:]
    ignore_signals()
    reader: Reader = importlib.import_module(module)
    reader.quieten_readers()
    reader.load_readers()
    serve_forks(socket.socket(fileno=int(number)), reader, int(memory_bytes))
