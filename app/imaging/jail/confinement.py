"""What a decoding process gives up before it sees a stranger's file.  Linux only."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from pathlib import Path

_MOST_FILES = 16  # descriptors: standard streams, the socket, and shared memory on its way
_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # numbers of system calls, the same on all machines
_ASK_VERSION = 1
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_MOST_CPU = 24 * 3600  # seconds


def confine(memory_bytes: int) -> int:
    """Give up all files, connections and privileges, and all memory beyond ``memory_bytes`` more.

    What is open stays usable.  Returns the version of Landlock's interface, 0 where the kernel has
    none; the limits hold all the same.  Raises OSError.
    """
    _be_killed_first()
    with Path("/proc/self/statm").open() as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    landlock = _forbid_files()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))
    return landlock


def allow_processor_time(seconds: float) -> None:
    """From now on; then the process is killed, though nobody may be there to kill it."""
    times = os.times()
    limit = int(times.user + times.system + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, _MOST_CPU))


def ignore_signals() -> None:
    """A terminal and systemd signal every process of a service; these end with their service."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _be_killed_first() -> None:
    """Where the machine's memory runs out, a decoder is the one to go."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    except OSError:  # some containers do not allow it
        return


def _forbid_files() -> int:
    """Landlock without a single exception: files, directories, TCP, and others' processes."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    version = int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION))
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or version < 1:
        return 0
    files = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)  # rights that this version knows
    connections = 2 if version >= 4 else 0
    scopes = 2 if version >= 6 else 0  # abstract sockets and signals
    rights = [(1 << count) - 1 for count in (files, connections, scopes)]
    length = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = int(
        libc.syscall(_CREATE_RULESET, struct.pack("=QQQ", *rights), ctypes.c_size_t(length), 0)
    )
    if ruleset < 0:
        return 0
    failed = libc.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return 0 if failed else version
