"""Who gets a turn, and when: without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from app.serving.line import Line, Turn


def run(test: Coroutine[Any, Any, None]) -> None:
    async def within_seconds() -> None:
        async with asyncio.timeout(10):
            await test

    asyncio.run(within_seconds())


def line(limit: int = 10, pixels: int = 100, readers: int = 2, at_once: int = 10) -> Line:
    return Line(limit, pixels, readers, at_once)


async def queued(line: Line, *pixels: int) -> list[asyncio.Task[Turn]]:
    tasks = [asyncio.create_task(line.turn(each)) for each in pixels]
    await settled()
    return tasks


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_turns_come_in_order_as_readers_become_free() -> None:
    async def test() -> None:
        queue = line(readers=2)
        first, second, third, fourth = await queued(queue, 1, 1, 1, 1)
        assert first.done()
        assert second.done()
        assert len(queue) == 2
        (await second).read()
        await settled()
        assert third.done()
        assert not fourth.done()
        (await first).read()
        (await first).read()  # once more does no harm
        (await third).end()
        assert (queue.reading, queue.working, queue.pixels) == (1, 3, 3)
        for turn in (first, second, third, fourth):
            (await turn).end()
        assert (len(queue), queue.reading, queue.working, queue.pixels) == (0, 0, 0, 0)

    run(test())


def test_no_more_are_at_work_than_keep_everything_busy() -> None:
    async def test() -> None:
        queue = line(readers=2, at_once=2)
        first, second, third = await queued(queue, 1, 1, 1)
        for turn in (first, second):
            (await turn).read()
        await settled()
        assert not third.done()
        (await first).end()
        await settled()
        assert third.done()

    run(test())


def test_a_large_photo_gets_its_turn_and_so_do_those_behind_it() -> None:
    """Two small ones are always at work; the large one fits when there is none beside it."""

    async def test() -> None:
        queue = line(pixels=100, readers=4)
        small = await queued(queue, 1, 1)
        (large,) = await queued(queue, 300)
        behind = await queued(queue, 1, 1)
        assert not large.done()
        for turn in small:
            (await turn).end()
        await settled()
        assert large.done()
        assert not any(turn.done() for turn in behind)
        assert queue.pixels == 300
        (await large).end()
        await settled()
        assert all(turn.done() for turn in behind)

    run(test())


def test_who_gives_up_lets_the_others_pass() -> None:
    async def test() -> None:
        waits: list[float] = []
        queue = Line(10, 100, 4, 10, on_wait=waits.append)
        (small,) = await queued(queue, 60)
        large, behind = await queued(queue, 60, 40)
        assert (small.done(), large.done(), behind.done()) == (True, False, False)
        large.cancel()
        await settled()
        assert behind.done()
        assert len(queue) == 0
        assert len(waits) == 3

    run(test())


def test_a_turn_that_comes_as_one_gives_up_is_not_lost() -> None:
    async def test() -> None:
        queue = line(readers=1)
        first, second, third = await queued(queue, 1, 1, 1)
        (await first).end()  # the second has its turn, but has not heard of it
        second.cancel()
        await settled()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert third.done()
        (await third).end()
        assert (queue.reading, queue.working, queue.pixels) == (0, 0, 0)

    run(test())


def test_a_line_is_full_when_there_is_neither_a_place_nor_a_turn() -> None:
    async def test() -> None:
        queue = line(limit=2, readers=1)
        assert not queue.is_full
        await queued(queue, 1)
        assert not queue.is_full
        await queued(queue, 1, 1)
        assert queue.is_full

    run(test())
