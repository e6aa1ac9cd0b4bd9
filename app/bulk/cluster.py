"""Restoring photos on the machines of a Ray cluster, with Ray Data.

One task lists the photos in groups, only as fast as workers take them.  Workers (actors, which load
the models once) read and write the files themselves, so only names pass through Ray.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from app.bulk.outcome import Outcome
from app.bulk.plan import Task
from app.options import EnhanceOptions
from app.settings import Settings

if TYPE_CHECKING:
    import ray.data

MOST_PHOTOS = 32
"""Maximum size of a group, which a worker takes as a whole, and repeats if it dies meanwhile."""
_GROUPS_AT_ONCE = 2  # so that a worker is not idle while it finishes the last photos of a group
_RETRIES = 3  # of a group whose worker died, possibly because of one of its photos
_PATIENCE_S = 5
_CORES = 4  # of a worker without a GPU; four cores share the work on a face well


class ClusterError(RuntimeError):
    """The cluster or its workers cannot be used; the message says why in one line."""


@dataclass(frozen=True)
class Share:
    """The number of workers, and what each gets."""

    workers: int
    cores: int
    gpus: int


def enhance_on_cluster(
    task: Task,
    photos: int,
    settings: Settings,
    options: EnhanceOptions,
    *,
    address: str | None,
    workers: int | None,
) -> Iterator[Outcome]:
    """Connect to a cluster, and return outcomes as they arrive.

    ``photos`` is their approximate number, by which the size of groups is chosen.  ``address`` is
    the cluster's; None means the cluster that this machine is part of, or else a temporary one of
    this machine alone.  Photos whose worker died repeatedly have no outcome.  Raises ClusterError,
    also while the result is iterated.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise it sends usage statistics
    try:
        import ray  # noqa: PLC0415  (optional, and takes seconds)
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise ClusterError("Ray is not installed: pip install 'gpen-portrait[ray]'") from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        if address is not None:
            _check_port(address)  # Ray itself would try for minutes
        ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"Ray at {address or 'this machine'}: {_first_line(error)}") from error
    share = shares(ray.nodes(), workers, on_gpu=settings.device != "cpu")
    size = max(1, min(MOST_PHOTOS, photos // (2 * _GROUPS_AT_ONCE * share.workers)))
    return _outcomes(_dataset(task, size, settings, options, share))


def _check_port(address: str) -> None:
    """Raises OSError."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():  # else "auto"
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()


def _outcomes(rows: ray.data.Dataset) -> Iterator[Outcome]:
    import ray  # noqa: PLC0415

    try:
        for row in rows.iter_rows():
            answer = pickle.loads(row["group"])
            if isinstance(answer, str):
                raise ClusterError(f"a worker cannot start: {answer}")
            yield from answer
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray: {_first_line(error)}") from error
    ray.shutdown()  # only here, because amid the work it may end the whole process


def shares(nodes: Iterable[dict[str, Any]], workers: int | None, *, on_gpu: bool) -> Share:
    """Share out the cluster; ``nodes`` is what ``ray.nodes()`` returns.

    There is one worker per GPU, with its share of that machine's cores.  Without GPUs, there is one
    worker per four cores, or per fewer cores if more workers are wanted.  Raises ClusterError if
    there are no cores.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    machines = [(int(r.get("CPU", 0)), int(r.get("GPU", 0)) if on_gpu else 0) for r in alive]
    with_gpus = [(cores, gpus) for cores, gpus in machines if gpus]
    if with_gpus:
        most = sum(gpus for _, gpus in with_gpus)
        cores = min(cores // gpus for cores, gpus in with_gpus)
        return Share(min(workers or most, most), max(1, cores), 1)
    with_cores = [cores for cores, _ in machines if cores]
    if not with_cores:
        raise ClusterError("Ray: the cluster has no cores")
    each = min(_CORES, *with_cores)
    if workers is None:
        return Share(sum(cores // each for cores in with_cores), each, 0)
    while each > 1 and sum(cores // each for cores in with_cores) < workers:
        each -= 1
    return Share(min(workers, sum(cores // each for cores in with_cores)), each, 0)


def _dataset(
    task: Task, size: int, settings: Settings, options: EnhanceOptions, share: Share
) -> ray.data.Dataset:
    import ray.data  # noqa: PLC0415

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # so that each row is a block, and each group a task
    context.max_errored_blocks = -1  # the failure of one group does not affect the others
    listed = ray.data.from_items([{"size": size}]).map_batches(
        _list_groups,
        fn_kwargs={"task": task, "size": size},
        num_cpus=0,  # workers use all of them
    )
    with warnings.catch_warnings():  # Ray has no other way to set the number of retries
        warnings.simplefilter("ignore", DeprecationWarning)
        return listed.map_batches(
            _Worker,
            fn_constructor_kwargs={"settings": settings, "options": options, "cores": share.cores},
            compute=ray.data.ActorPoolStrategy(
                size=share.workers,
                max_concurrent_calls_per_actor=_GROUPS_AT_ONCE,
                max_tasks_in_flight_per_actor=_GROUPS_AT_ONCE + 1,
                enable_true_multi_threading=True,
            ),
            num_cpus=share.cores,
            num_gpus=share.gpus,
            max_task_retries=_RETRIES,
        )


def _list_groups(_: object, task: Task, size: int) -> Iterator[dict[str, list[bytes]]]:
    jobs = task.jobs()
    while group := list(islice(jobs, size)):
        yield {"group": [pickle.dumps(group)]}


class _Worker:
    """The work of an actor: loads the models once, and restores two groups at a time."""

    def __init__(self, settings: Settings, options: EnhanceOptions, cores: int) -> None:
        from app.bulk.machine import Machine  # noqa: PLC0415  (PyTorch takes seconds)
        from app.serving.load import load  # noqa: PLC0415

        self._problem = ""
        try:
            loaded = load(settings)
        except Exception as error:  # noqa: BLE001  (Ray would wrap it in pages of text)
            self._problem = _first_line(error)
            return
        # if the device fails, Ray starts another actor, which repeats the group
        machine = Machine(loaded, settings, options, cores, lambda: os._exit(1))
        self._machine = machine.__enter__()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"group": [self._restore(group) for group in batch["group"]]}

    def _restore(self, group: bytes) -> bytes:
        """Take pickled jobs, and return pickled outcomes, or the reason why there can be none."""
        if self._problem:
            return pickle.dumps(self._problem)
        return pickle.dumps(list(self._machine.enhance_all(pickle.loads(group))))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
