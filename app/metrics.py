"""What one can see: the Prometheus metrics of one application."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from app.admission import Admission

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
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
            "From the headers to the last byte handed on",
            _SECONDS,
            ("route", "status"),
        )
        self.faces = Counter(
            "gpen_faces",
            "Faces found, by what became of them",
            ("outcome",),
            registry=self.registry,
        )
        self.queue_seconds = self._histogram(
            "gpen_queue_seconds", "How long the first face of a photo waited", _SECONDS
        )
        self.batch_faces = self._histogram("gpen_batch_faces", "Faces a batch", _FACES)
        self.batch_seconds = self._histogram("gpen_batch_seconds", "Restoring a batch", _SECONDS)
        self.dropped = Counter(
            "gpen_dropped_faces", "Faces that nobody waited for any more", registry=self.registry
        )

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def watch_admission(self, admission: Admission) -> None:
        """Report what is in flight, and how much of it may be."""
        for name, text, value, limit in (
            ("requests", "Requests", lambda: admission.requests, admission.max_requests),
            ("upload_bytes", "Bytes of bodies", lambda: admission.bytes, admission.max_bytes),
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
        pace.set_function(lambda: admission.pace.seconds)

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

    def watch_pixels(self, used: Callable[[], int], limit: int) -> None:
        """Report the pixels being worked on, and how many may be."""
        self._watch("gpen_pixels", "gpen_limit_pixels", "Pixels in flight", used, limit)

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

    def observe_batch(self, faces: int, seconds: float) -> None:
        self.batch_faces.observe(faces)
        self.batch_seconds.observe(seconds)


def _free_bytes(device: torch.device) -> float:
    """Not a number when the device does not answer: one can still see all the rest."""
    try:
        return torch.cuda.mem_get_info(device)[0]
    except RuntimeError:
        return math.nan
