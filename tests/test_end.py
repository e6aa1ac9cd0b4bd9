"""A run of the tests that hangs at its end fails."""

import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

BEGIN = "from tests import conftest; conftest.END_S = {}; conftest.pytest_unconfigure(); "
THREAD = "import threading; threading.Thread(target=threading.Event().wait).start()"
NATIVE = (
    "import ctypes; libc = ctypes.CDLL(None); "
    "libc.__cxa_atexit(ctypes.cast(libc.pause, ctypes.c_void_p), None, None)"
)


@pytest.mark.parametrize(
    ("hang", "end_s", "status", "said"),
    [
        (THREAD, 0.5, 1, "in wait"),
        (NATIVE, 3, -signal.SIGALRM, ""),
        ("", 60, 0, ""),
    ],
    ids=["thread", "native", "none"],
)
def test_a_hang_at_the_end_ends(hang: str, end_s: float, status: int, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN.format(end_s) + hang],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == status, ended.stderr
    assert said in ended.stderr
