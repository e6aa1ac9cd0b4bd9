"""The Prometheus metrics of one application."""

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

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 120, 300)
"""Buckets far beyond the default deadline, so that quantiles of late answers are numbers."""
CLIENT_GONE = 499
"""The status of a request whose client disconnected before its answer was complete (nginx's)."""
STAGES = ("decode", "detect", "queue", "restore", "paste", "encode")
_FACES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one application, in a registry of their own.

    So several applications can run in one process, as in tests.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.requests = counter("gpen_requests", "Requests", ("route", "status"))
        self.problems = counter(
            "gpen_problems", "Requests refused or failed, by type of problem", ("type",)
        )
        self.request_seconds = histogram(
            "gpen_request_seconds",
            "From the last byte of a request to the first byte of its answer",
            ("route", "status"),
            buckets=_SECONDS,
        )
        self.faces = counter("gpen_faces", "Faces found, by outcome", ("outcome",))
        self.decoder_deaths = counter(
            "gpen_decoder_deaths", "Decoding processes that a photo killed, by reason", ("reason",)
        )
        self.upload_seconds = histogram(
            "gpen_upload_seconds",
            "From the headers of a request to the last byte of its body",
            buckets=_SECONDS,
        )
        self.wait_seconds = histogram(
            "gpen_wait_seconds",
            "How long a request waited in line for its turn, or until it gave up",
            buckets=_SECONDS,
        )
        self.stage_seconds = histogram(
            "gpen_stage_seconds", "Each stage of a photo", ("stage",), buckets=_SECONDS
        )
        self.queue_seconds = histogram(
            "gpen_queue_seconds", "How long the first face of a photo waited", buckets=_SECONDS
        )
        self.batch_faces = histogram("gpen_batch_faces", "Faces per batch", buckets=_FACES)
        self.batch_seconds = histogram("gpen_batch_seconds", "Restoring a batch", buckets=_SECONDS)
        self.dropped = counter(
            "gpen_dropped_faces", "Faces dropped because their request had ended"
        )
        self.info = Gauge(
            "gpen_info",
            "Always 1; the labels say what is served",
            ("version", "model", "engine", "precision", "device"),
            registry=self.registry,
        )

    def begin_at_zero(self, route: str) -> None:
        """Create the counters of a route at zero, so that rates include their first increment."""
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

    def watch_admission(self, admission: Admission) -> None:
        """Report what is in flight and what waits in line, each with its limit, and the pace."""
        line = admission.line
        self._watch(
            "requests_in_flight",
            "Requests in flight",
            lambda: admission.requests,
            admission.max_requests,
        )
        self._watch(
            "upload_bytes_in_flight",
            "Bytes of uploads in flight",
            lambda: admission.bytes,
            admission.max_bytes,
        )
        self._watch("queue_requests", "Requests waiting in line", lambda: len(line), line.limit)
        self._watch("pixels", "Pixels in flight", lambda: line.pixels, line.most_pixels)
        self._gauge(
            "pace_seconds",
            "What a typical request takes of the whole service's time",
            lambda: admission.seconds_per_request,
        )
        self._gauge(
            "backlog_seconds",
            "Seconds until all accepted requests are finished",
            lambda: admission.backlog_seconds,
        )

    def watch_answers(self, in_flight: Callable[[], int], limit: int) -> None:
        """Report the bytes of large answers that clients have not received yet."""
        self._watch("answer_bytes_in_flight", "Bytes of answers in flight", in_flight, limit)

    def watch_queue(self, depth: Callable[[], int], limit: int) -> None:
        """Report the faces that wait for a batch."""
        self._watch("queue_faces", "Faces waiting", depth, limit)

    def watch_devices(self, devices: Sequence[str]) -> None:
        """Report the memory of GPUs: what this process has reserved, and what is free."""
        gpus = [device for device in map(torch.device, devices) if device.type == "cuda"]
        if not gpus:
            return
        gauge = partial(Gauge, labelnames=["device"], registry=self.registry)
        reserved = gauge("gpen_device_memory_reserved_bytes", "Memory reserved by the service")
        free = gauge("gpen_device_memory_free_bytes", "Free memory of the device")
        for gpu in gpus:
            reserved.labels(str(gpu)).set_function(partial(torch.cuda.memory_reserved, gpu))
            free.labels(str(gpu)).set_function(partial(_free_bytes, gpu))

    def report_restorer(self, restorer: Restorer) -> None:
        """Report which generator is served, and by which engine, in place of the previous one."""
        engine = restorer.engine
        self.info.clear()
        self.info.labels(
            version("gpen-portrait"), restorer.name, engine.name, engine.precision, engine.device
        ).set(1)

    def _watch(self, name: str, text: str, value: Callable[[], int], limit: int) -> None:
        self._gauge(name, text, value)
        self._gauge(f"limit_{name}", f"{text}, at most", lambda: limit)

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"gpen_{name}", text, registry=self.registry).set_function(value)

    def observe_request(self, route: str, status: int, seconds: float, problem: str | None) -> None:
        """``problem`` is the slug of the problem that the answer reports, if it is one."""
        self.requests.labels(route, str(status)).inc()
        if problem is not None:
            self.problems.labels(problem).inc()
        self.request_seconds.labels(route, str(status)).observe(seconds)

    def observe_photo(self, timings: Timings, reports: Sequence[FaceReport]) -> None:
        """Record a finished photo."""
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
    """The class itself, and all that derive from it."""
    return [kind, *(each for child in kind.__subclasses__() for each in _subclasses(child))]


def _free_bytes(device: torch.device) -> float:
    """NaN if the device fails, so that all other metrics can still be read."""
    try:
        return torch.cuda.mem_get_info(device)[0]
    except RuntimeError:
        return math.nan
