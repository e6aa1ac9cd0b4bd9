import subprocess
import sys

import pytest

from model.training.memory import keep_freed_memory

CHURN = """
import resource, sys
from model.training.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
def churn():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytes(bytearray(48 << 20))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
churn()
print(churn())
"""


def page_faults(mode: str) -> int:
    """Of taking and freeing large blocks, once that has been done before."""
    command = [sys.executable, "-c", CHURN, mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("not glibc")
    return int(done.stdout)


def test_large_blocks_are_not_fetched_from_the_kernel_again():
    assert page_faults("keep") < 1000 < page_faults("leave")


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    assert keep_freed_memory() is False
