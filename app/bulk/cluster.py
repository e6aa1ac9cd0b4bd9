"""Photos on the machines of a Ray cluster, through Ray Data.

One task lists the photos, a group of them at a time and only as far ahead as workers take them up;
workers (actors, which load the models once) read and write the files themselves.  What passes
through Ray is names, there and back.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.bulk.outcome import Outcome, Problem
from app.bulk.plan import Job, Task
from app.options import EnhanceOptions
from app.settings import Settings

if TYPE_CHECKING:
    import ray.data

MOST_PHOTOS = 32
"""In a group: what a worker takes at once, and does again if it dies meanwhile."""
_GROUPS_AT_ONCE = 2  # so that a worker does not stand idle while its last photos get done
_TRIES_AGAIN = 3  # of a group whose worker died; a photo may be what kills it
_PATIENCE_S = 5
_CORES = 4  # of a worker without a GPU: a face is restored well by so many together


class ClusterError(RuntimeError):
    """There is no cluster to work on, or no worker can; the message says why in one line."""


@dataclass(frozen=True)
class Share:
    """What of the cluster each worker gets."""

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
    """Connect, and return outcomes as they come in.

    ``photos`` is how many there are about to be, for the groups' size.  ``address`` is the
    cluster's; None is the one that this machine is part of, or else one for the while, of this
    machine alone.  Photos whose worker died again and again have no outcome.  Raises ClusterError,
    what is returned does, too.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray  # noqa: PLC0415  (optional, and takes seconds)
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise ClusterError("Ray is not installed: pip install 'gpen-portrait[ray]'") from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        if address is not None:
            _check_port(address)  # Ray itself tries for minutes
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
            answer = json.loads(row["group"])
            if isinstance(answer, str):
                raise ClusterError(f"a worker cannot start: {answer}")
            yield from map(_outcome, answer)
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray: {_first_line(error)}") from error
    ray.shutdown()  # here alone: amid the work it may end the whole process


def shares(nodes: Iterable[dict[str, Any]], workers: int | None, *, on_gpu: bool) -> Share:
    """How many workers, and what each gets; ``nodes`` as ``ray.nodes()`` has them.

    A worker for each GPU, with its part of that machine's cores; without GPUs one for each four
    cores, or less where more workers are wanted.  Raises ClusterError when there is nothing to
    work on.
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
        raise ClusterError("Ray: the cluster has no cores to work on")
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
    context.target_max_block_size = 1  # so a row is a block, and a group a task
    context.max_errored_blocks = -1  # a group whose worker died costs the others nothing
    listed = ray.data.from_items([{"size": size}]).map_batches(
        _list_groups,
        fn_kwargs={"task": task, "size": size},
        num_cpus=0,  # workers have all of them
    )
    with warnings.catch_warnings():  # Ray has no other way to say how often it tries again
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
            max_task_retries=_TRIES_AGAIN,
        )


def _list_groups(_: object, task: Task, size: int) -> Iterator[dict[str, list[str]]]:
    jobs = task.jobs()
    while group := list(islice(jobs, size)):
        yield {"group": [json.dumps([_as_json(job) for job in group])]}


class _Worker:
    """An actor's: loads once, and works on groups, two at a time."""

    def __init__(self, settings: Settings, options: EnhanceOptions, cores: int) -> None:
        from app.bulk.machine import Machine  # noqa: PLC0415  (PyTorch takes seconds)
        from app.serving.load import load  # noqa: PLC0415

        self._problem = ""
        try:
            loaded = load(settings)
        except Exception as error:  # noqa: BLE001  (Ray would wrap it in pages of its own)
            self._problem = _first_line(error)
            return
        # when the device fails, Ray starts another actor, and has it do the group again
        machine = Machine(loaded, settings, options, cores, lambda: os._exit(1))
        self._machine = machine.__enter__()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        return {"group": [self._restore(group) for group in batch["group"]]}

    def _restore(self, group: str) -> str:
        if self._problem:
            return json.dumps(self._problem)
        jobs = [_job(document) for document in json.loads(group)]
        outcomes = self._machine.enhance_all(jobs)
        return json.dumps([asdict(o) | {"job": _as_json(o.job)} for o in outcomes])


def _as_json(job: Job) -> dict[str, Any]:
    return asdict(job) | {"source": str(job.source), "target": str(job.target)}


def _job(document: dict[str, Any]) -> Job:
    places = {name: Path(document[name]) for name in ("source", "target")}
    return Job(**document | places)


def _outcome(document: dict[str, Any]) -> Outcome:
    problem = document["problem"]
    return Outcome(
        _job(document["job"]), document["faces"], None if problem is None else Problem(**problem)
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
