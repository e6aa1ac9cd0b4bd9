"""What one can see: the Prometheus metrics of one application."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import get_args

import torch
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from app.errors import ServiceError
from app.faces.pipeline import Timings
from app.faces.reports import FaceReport, Reason
from app.faces.restore import Restorer
from app.imaging.jail.decoder import Reason as Death
from app.serving.admission import Admission
from app.serving.line import Line
from app.serving.outgoing import Answers

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 120, 300)
"""Well beyond the default deadline, so that a quantile of late answers is a number."""
CLIENT_GONE = 499
"""The status of a request whose client went away before it had its answer, as nginx has it."""
STAGES = ("decode", "detect", "queue", "restore", "paste", "encode")
_FACES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics, in a registry of their own, so that applications in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "gpen_requests", "Requests", ("route", "status"), registry=self.registry
        )
        self.problems = Counter(
            "gpen_problems",
            "Requests refused or failed, by type of problem",
            ("type",),
            registry=self.registry,
        )
        self.request_seconds = self._histogram(
            "gpen_request_seconds",
            "From the last byte of a request to the first of its answer",
            _SECONDS,
            ("route", "status"),
        )
        self.faces = Counter(
            "gpen_faces",
            "Faces found, by what became of them",
            ("outcome",),
            registry=self.registry,
        )
        self.decoder_deaths = Counter(
            "gpen_decoder_deaths",
            "Decoding processes that died, or were killed, of a photo",
            ("reason",),
            registry=self.registry,
        )
        self.upload_seconds = self._histogram(
            "gpen_upload_seconds", "From a request's headers to the last byte of its body", _SECONDS
        )
        self.wait_seconds = self._histogram(
            "gpen_wait_seconds",
            "In the line, until a request's turn, or until it gave up",
            _SECONDS,
        )
        self.stage_seconds = self._histogram(
            "gpen_stage_seconds", "Each stage of a photo", _SECONDS, ("stage",)
        )
        self.queue_seconds = self._histogram(
            "gpen_queue_seconds", "How long the first face of a photo waited", _SECONDS
        )
        self.batch_faces = self._histogram("gpen_batch_faces", "Faces a batch", _FACES)
        self.batch_seconds = self._histogram("gpen_batch_seconds", "Restoring a batch", _SECONDS)
        self.dropped = Counter(
            "gpen_dropped_faces", "Faces that nobody waited for any more", registry=self.registry
        )
        self.info = Gauge(
            "gpen_info",
            "1, and what is served in the labels",
            ("version", "model", "engine", "precision", "device"),
            registry=self.registry,
        )

    def begin_at_zero(self, route: str) -> None:
        """Show what can be counted of this route: a rate needs the zero before the first one."""
        problems = _subclasses(ServiceError)
        for status in sorted({200, CLIENT_GONE} | {problem.status for problem in problems}):
            self.requests.labels(route, str(status))
            self.request_seconds.labels(route, str(status))
        for problem in problems:
            self.problems.labels(problem.slug)
        for outcome in ("restored", *get_args(Reason)):
            self.faces.labels(outcome)
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        for reason in get_args(Death):
            self.decoder_deaths.labels(reason)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def watch_admission(self, admission: Admission) -> None:
        """Report what is in flight, and how much of it may be."""
        for name, text, value, limit in (
            ("requests", "Requests", lambda: admission.requests, admission.max_requests),
            ("upload_bytes", "Bytes of uploads", lambda: admission.bytes, admission.max_bytes),
        ):
            self._watch(
                f"gpen_{name}_in_flight",
                f"gpen_limit_{name}_in_flight",
                f"{text} in flight",
                value,
                limit,
            )
        pace = Gauge(
            "gpen_pace_seconds",
            "What a request takes of the whole service's time",
            registry=self.registry,
        )
        pace.set_function(lambda: admission.seconds_per_request)
        backlog = Gauge(
            "gpen_backlog_seconds",
            "In how many seconds all requests at work will be done, the waiting ones included",
            registry=self.registry,
        )
        backlog.set_function(lambda: admission.backlog_seconds)

    def watch_devices(self, devices: Sequence[str]) -> None:
        """Report the memory of GPUs: what is reserved by this process, and what is left of all."""
        gpus = [device for device in map(torch.device, devices) if device.type == "cuda"]
        if not gpus:
            return
        reserved, free = (
            Gauge(
                f"gpen_device_memory_{name}_bytes",
                f"Memory of the device, {text}",
                ["device"],
                registry=self.registry,
            )
            for name, text in (("reserved", "reserved by the service"), ("free", "free"))
        )
        for gpu in gpus:
            reserved.labels(str(gpu)).set_function(partial(torch.cuda.memory_reserved, gpu))
            free.labels(str(gpu)).set_function(partial(_free_bytes, gpu))

    def watch_queue(self, depth: Callable[[], int], limit: int) -> None:
        """Report the faces that wait, and how many may."""
        self._watch("gpen_queue_faces", "gpen_limit_queue_faces", "Faces that wait", depth, limit)

    def watch_line(self, line: Line) -> None:
        """Report the requests that wait, and the pixels being worked on, with their limits."""
        self._watch(
            "gpen_queue_requests",
            "gpen_limit_queue_requests",
            "Requests that wait for their turn",
            lambda: len(line),
            line.limit,
        )
        self._watch(
            "gpen_pixels",
            "gpen_limit_pixels",
            "Pixels in flight",
            lambda: line.pixels,
            line.most_pixels,
        )

    def watch_answers(self, answers: Answers) -> None:
        """Report the bytes of large answers that clients have not taken yet, and their limit."""
        self._watch(
            "gpen_answer_bytes_in_flight",
            "gpen_limit_answer_bytes_in_flight",
            "Bytes of answers in flight",
            lambda: answers.bytes,
            answers.limit,
        )

    def tell_info(self, restorer: Restorer) -> None:
        """Report what is served, instead of what was before."""
        engine = restorer.engine
        self.info.clear()
        self.info.labels(
            version("gpen-portrait"), restorer.name, engine.name, engine.precision, engine.device
        ).set(1)

    def _watch(
        self, name: str, limit_name: str, text: str, value: Callable[[], int], limit: int
    ) -> None:
        Gauge(name, text, registry=self.registry).set_function(value)
        Gauge(limit_name, f"{text}, at most", registry=self.registry).set(limit)

    def observe_request(self, route: str, status: int, seconds: float, problem: str | None) -> None:
        """``problem`` is the slug of what the client was told, if it was told of one."""
        self.requests.labels(route, str(status)).inc()
        if problem is not None:
            self.problems.labels(problem).inc()
        self.request_seconds.labels(route, str(status)).observe(seconds)

    def observe_photo(self, timings: Timings, reports: Sequence[FaceReport]) -> None:
        """A photo is done."""
        seconds = asdict(timings)
        for stage in STAGES:
            self.stage_seconds.labels(stage).observe(seconds[stage])
        if any(report.restored for report in reports):
            self.queue_seconds.observe(timings.queue)
        for report in reports:
            self.faces.labels(report.reason or "restored").inc()

    def observe_batch(self, faces: int, seconds: float) -> None:
        self.batch_faces.observe(faces)
        self.batch_seconds.observe(seconds)


def _subclasses(kind: type[ServiceError]) -> list[type[ServiceError]]:
    """Of every generation, and the class itself."""
    return [kind, *(each for child in kind.__subclasses__() for each in _subclasses(child))]


def _free_bytes(device: torch.device) -> float:
    """Not a number when the device does not answer: one can still see all the rest."""
    try:
        return torch.cuda.mem_get_info(device)[0]
    except RuntimeError:
        return math.nan
