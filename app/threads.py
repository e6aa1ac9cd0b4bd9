"""Thread pools that measure how long their work takes, since hung native code raises no error."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Generic, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Timed(Generic[T]):
    """A result, and when its computation began and ended (:func:`time.perf_counter`, seconds)."""

    result: T
    began: float
    ended: float


class WatchedPool(ThreadPoolExecutor):
    """A thread pool that knows how long each thread has been working on its current call.

    ``torch_threads`` is how many threads PyTorch may use in each thread of the pool.
    """

    def __init__(self, workers: int, name: str, torch_threads: int = 1) -> None:
        super().__init__(
            workers, name, initializer=torch.set_num_threads, initargs=(torch_threads,)
        )
        self.name = name
        self._running: dict[int, float] = {}  # thread id -> time.monotonic() when its call began

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        context = copy_context()  # carries the request id into log records
        return super().submit(self._watched, partial(context.run, fn, *args, **kwargs))

    def submit_timed(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[Timed[T]]:
        """Like ``submit``, but the future's result also says when the call began and ended."""
        return self.submit(_timed, partial(fn, *args, **kwargs))

    @property
    def busy_seconds(self) -> float:
        """How long the longest current call has been running, in seconds; 0 if none is."""
        since = min(self._running.copy().values(), default=None)
        return 0.0 if since is None else time.monotonic() - since

    def _watched(self, work: Callable[[], T]) -> T:
        thread = threading.get_ident()
        self._running[thread] = time.monotonic()
        try:
            return work()
        finally:
            del self._running[thread]


def _timed(work: Callable[[], T]) -> Timed[T]:
    began = time.perf_counter()
    result = work()
    return Timed(result, began, time.perf_counter())


def in_daemon_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Run ``work`` in a daemon thread of this name, which does not keep the process alive.

    Returns a future of the running event loop, with the result of ``work`` or its exception.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    threads = torch.get_num_threads()  # a new thread starts with the value set last in any thread

    def settle(set_outcome: Callable[[], None]) -> None:
        if not future.done():
            set_outcome()

    def run() -> None:
        torch.set_num_threads(threads)
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  (the future raises it)
            outcome: Callable[[], None] = partial(future.set_exception, error)
        else:
            outcome = partial(future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed, so nobody waits for the result
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
