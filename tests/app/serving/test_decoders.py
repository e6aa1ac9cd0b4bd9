"""A picture that kills its decoder, seen by clients of the whole service."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from app.imaging.deep_png import deep_png
from app.imaging.jail.decoder import DecoderLimits
from app.imaging.jail.pool import DecoderPool
from app.serving.decoders import decoder_pool, memory_for
from app.serving.load import Loaded
from app.settings import Settings
from tests.app.running import post, running, wait_for, with_restorer
from tests.conftest import encode_png
from tests.decoders import decoders

SMALL = encode_png(np.full((64, 64, 3), 128, np.uint8))
BAD_READER = "tests.app.imaging.jail.bad_reader"


def test_settings_decide_what_decoders_may_take() -> None:
    pool = decoder_pool(Settings(), cores=4)
    assert (pool.size, pool._limits) == (5, DecoderLimits(memory_for(40_000_000)))
    chosen = Settings(decoders=2, decode_timeout_s=7, decode_memory_mb=900)
    pool = decoder_pool(chosen, cores=4)
    assert (pool.size, pool._limits) == (2, DecoderLimits(900_000_000, 7))


def test_the_largest_photo_fits() -> None:
    """16 bits with alpha, which two libraries read; it must not be refused for lack of memory."""
    side = 2000
    levels = np.random.default_rng(0).integers(0, 65_536, (side, side, 4), np.uint16)
    with DecoderPool(1, DecoderLimits(memory_for(side * side))) as pool:
        photo = pool.decode(deep_png(levels), side * side)
    assert np.array_equal(photo.pixels, levels[..., :3])


def test_files_that_kill_their_decoder_are_refused_and_others_answered(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded
) -> None:
    limits = DecoderLimits(2**28, seconds=3)
    with running(
        monkeypatch,
        with_restorer(loaded, lambda c: c),
        pool=lambda _settings, _cores, died: DecoderPool(3, limits, died, BAD_READER),
    ) as (client, ended):
        wait_for(client, "ok")
        files = [SMALL] * 31 + [b"null!", b"loop!", b"allocate!"]
        random.Random(1).shuffle(files)
        with ThreadPoolExecutor(len(files)) as threads:
            answers = list(threads.map(lambda file: (file, post(client, file)), files))
        for file, answer in answers:
            assert answer.status_code == (200 if file == SMALL else 422), answer.text
            if file != SMALL:
                assert answer.json()["type"].endswith("broken-picture")
        assert client.get("/health").status_code == 200
        metrics = client.get("/metrics").text
        assert 'gpen_decoder_deaths_total{reason="crash"} 2.0' in metrics
        assert 'gpen_decoder_deaths_total{reason="timeout"} 1.0' in metrics
        assert 'gpen_decoder_deaths_total{reason="memory"} 1.0' in metrics
        assert not ended.is_set()


def test_decoders_that_cannot_start_are_a_failed_start(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded
) -> None:
    def broken(*_: object) -> DecoderPool:
        return DecoderPool(1, DecoderLimits(2**28), reader="no.such.module")

    with running(monkeypatch, lambda _: loaded, pool=broken) as (client, ended):
        assert ended.wait(60)
        assert wait_for(client, "failed").status_code == 503


@pytest.mark.long
def test_decoders_killed_at_random_for_a_minute(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded
) -> None:
    """Under load: every answer is 200 or 422, and health stays 200."""
    done = threading.Event()
    with running(monkeypatch, with_restorer(loaded, lambda c: c)) as (client, ended):
        wait_for(client, "ok")

        def kill() -> None:
            while not done.wait(0.2):
                for decoder in decoders._idle[:1]:
                    with suppress(ProcessLookupError):
                        os.kill(decoder.pid, signal.SIGSEGV)

        def load() -> Counter[int]:
            end, seen = time.monotonic() + 60, Counter[int]()
            while time.monotonic() < end:
                seen[post(client, SMALL).status_code] += 1
            return seen

        def watch() -> Counter[int]:
            seen = Counter[int]()
            while not done.wait(0.5):
                seen[client.get("/health").status_code] += 1
            return seen

        with ThreadPoolExecutor(6) as threads:
            killing, watching = threads.submit(kill), threads.submit(watch)
            try:
                loads = [threads.submit(load) for _ in range(4)]
                answers = sum((each.result() for each in loads), Counter[int]())
            finally:
                done.set()
            killing.result()
            assert set(watching.result()) == {200}
        assert set(answers) <= {200, 422}
        assert answers[200] > 10 * answers[422]
        assert not ended.is_set()
