"""Pictures are decoded elsewhere as they would be here, and what dies of one costs no other."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from app.errors import BrokenPicture, MemoryFull, ServiceError, TooLarge, UnsupportedPicture
from app.imaging.decode import decode, quieten_readers
from app.imaging.jail import decoder as decoder_module
from app.imaging.jail.decoder import DecoderLimits, ForkServer, Reason
from app.imaging.jail.pool import DecoderPool, DecodersError
from app.imaging.photo import Photo
from tests.hostile.made import encoded, picture
from tests.hostile.mutants import seeds

LIMIT = 40_000_000
BAD_READER = "tests.app.imaging.jail.bad_reader"
PNG = encoded(picture(), "PNG")
MEMORY = 2**28

deaths: Counter[Reason] = Counter()


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[DecoderPool]:
    def note(reason: Reason) -> None:
        deaths[reason] += 1

    limits = DecoderLimits(MEMORY, seconds=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPEN_API_KEYS", "a-secret-of-the-service")
        with DecoderPool(2, limits, note, reader=BAD_READER) as pool:
            yield pool


@pytest.fixture
def pool(shared_pool: DecoderPool) -> DecoderPool:
    deaths.clear()
    return shared_pool


def same(a: Photo, b: Photo) -> bool:
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name))
        if f.name in ("pixels", "alpha")
        else getattr(a, f.name) == getattr(b, f.name)
        for f in fields(Photo)
    )


@pytest.mark.parametrize("name", seeds())
def test_a_picture_is_what_it_would_be_in_this_process(pool: DecoderPool, name: str) -> None:
    quieten_readers()
    data = seeds()[name]
    try:
        here = decode(data, LIMIT)
    except ServiceError as error:
        with pytest.raises(type(error), match=str(error)):
            pool.decode(data, LIMIT)
        return
    there = pool.decode(data, LIMIT)
    assert same(here, there)
    assert pool.measure(data, LIMIT) == here.width * here.height
    there.pixels[:] = 0  # it is the service's own
    assert not deaths


def test_refusals_are_those_of_the_readers(pool: DecoderPool) -> None:
    for step in (pool.measure, pool.decode):
        with pytest.raises(TooLarge, match="24x20"):
            step(PNG, 479)
        with pytest.raises(UnsupportedPicture):
            step(b"hello", LIMIT)
        with pytest.raises(BrokenPicture):
            step(b"", LIMIT)
    with pytest.raises(BrokenPicture):
        pool.decode(PNG[:-30], LIMIT)
    assert not deaths


@pytest.mark.parametrize(
    ("harm", "reason", "tries"),
    [
        ("null", "crash", 2),
        ("killed", "crash", 2),
        ("loop", "timeout", 1),
        ("allocate", "memory", 1),
    ],
)
def test_a_decoder_that_dies_costs_its_file_alone(
    pool: DecoderPool, caplog: pytest.LogCaptureFixture, harm: str, reason: Reason, tries: int
) -> None:
    data = f"{harm}!".encode()
    start = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(BrokenPicture):
        pool.decode(data, LIMIT)
    assert time.monotonic() - start < 8
    assert deaths == {reason: tries}
    assert hashlib.sha256(data).hexdigest() in caplog.text
    assert same(pool.decode(PNG, LIMIT), decode(PNG, LIMIT))


def test_a_header_may_kill_as_well(pool: DecoderPool) -> None:
    with pytest.raises(BrokenPicture):
        pool.measure(b"null in the header!", LIMIT)
    assert deaths == {"crash": 2}


def test_others_in_flight_come_back_right(pool: DecoderPool) -> None:
    files = [*([PNG] * 31), b"null!"]
    random.Random(0).shuffle(files)
    expected = decode(PNG, LIMIT)

    def read(data: bytes) -> bool:
        try:
            return same(pool.decode(data, LIMIT), expected)
        except BrokenPicture:
            return False

    with ThreadPoolExecutor(32) as threads:
        assert sum(threads.map(read, files)) == 31


def test_a_picture_of_another_size_than_its_header_promised_is_broken(pool: DecoderPool) -> None:
    with pytest.raises(BrokenPicture, match="sizes"):
        pool.decode(b"larger!", LIMIT)
    assert not deaths


@pytest.mark.parametrize("order", ["open", "connect", "secrets"])
def test_it_can_open_no_file_and_no_connection_and_knows_no_secret(
    pool: DecoderPool, order: str
) -> None:
    pool.measure(PNG, LIMIT)
    if order != "secrets" and not pool._idle[0].landlock:
        pytest.skip("this kernel has no Landlock")
    with pytest.raises(BrokenPicture, match="memory"):
        pool.decode(f"{order}!".encode(), LIMIT)


def test_a_decoder_killed_while_idle_is_replaced(pool: DecoderPool) -> None:
    for idle in pool._idle:
        os.kill(idle.pid, signal.SIGSEGV)
    time.sleep(0.1)
    assert pool.measure(PNG, LIMIT) == 480
    assert not deaths


def test_memory_comes_back(pool: DecoderPool) -> None:
    large = encoded(picture("RGB", 2000, 1500), "PNG")

    def resident() -> int:
        gc.collect()
        pids = [os.getpid(), *(idle.pid for idle in pool._idle)]
        texts = [Path(f"/proc/{pid}/statm").read_text() for pid in pids]
        return sum(int(text.split()[1]) for text in texts) * os.sysconf("SC_PAGE_SIZE")

    pool.decode(large, LIMIT)
    before = resident()
    for _ in range(3):
        pool.decode(large, LIMIT)
        with pytest.raises(BrokenPicture):
            pool.decode(b"allocate!", LIMIT)
        pool.decode(PNG, LIMIT)
    assert resident() - before < 60_000_000


def test_a_decoder_is_replaced_after_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "_MOST_TASKS", 3)
    died: list[Reason] = []
    with DecoderPool(1, DecoderLimits(MEMORY), died.append) as pool:
        pids = set()
        for _ in range(7):
            pool.measure(PNG, LIMIT)
            pids |= {idle.pid for idle in pool._idle}
        assert len(pids) == 3
    assert not died


def test_a_fork_server_that_died_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with DecoderPool(1, DecoderLimits(MEMORY)) as pool:
        assert pool._server._process is not None
        pool._server._process.kill()
        pool._server._process.wait()
        os.kill(pool._idle[0].pid, signal.SIGKILL)
        time.sleep(0.1)
        assert pool.measure(PNG, LIMIT) == 480

        def fail(_: ForkServer) -> None:
            raise OSError("no more processes")

        monkeypatch.setattr(ForkServer, "fork", fail)
        os.kill(pool._idle[0].pid, signal.SIGKILL)
        time.sleep(0.1)
        with pytest.raises(MemoryFull) as raised:
            pool.measure(PNG, LIMIT)
        assert raised.value.status == 503
        assert pool.failing_seconds > 0
        monkeypatch.undo()
        assert pool.measure(PNG, LIMIT) == 480
        assert pool.failing_seconds == 0


def test_a_pool_that_cannot_start_says_so() -> None:
    with (
        pytest.raises(DecodersError, match="cannot be decoded"),
        DecoderPool(1, DecoderLimits(MEMORY), reader="no.such.module"),
    ):
        pytest.fail("it has started")


def test_decoders_end_with_the_pool() -> None:
    with DecoderPool(1, DecoderLimits(MEMORY)) as pool:
        pid = pool._idle[0].pid
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    pytest.fail("it is still there")


@pytest.mark.long
def test_decoders_killed_at_random_cost_nothing_but_refusals(pool: DecoderPool) -> None:
    """Under load, for a while: each file is read or refused, and nothing hangs."""
    expected = decode(PNG, LIMIT)
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.05):
            for idle in pool._idle[:1]:
                with suppress(ProcessLookupError):
                    os.kill(idle.pid, signal.SIGSEGV)

    def read(_: int) -> str:
        try:
            return "read" if same(pool.decode(PNG, LIMIT), expected) else "wrong"
        except BrokenPicture:
            return "refused"

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with ThreadPoolExecutor(8) as threads:
            outcomes = Counter(threads.map(read, range(4_000)))
    finally:
        done.set()
        killer.join()
    assert outcomes["read"] > 3_800
    assert outcomes["wrong"] == 0
