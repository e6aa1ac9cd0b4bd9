"""The names under which Prometheus gets the service's metrics."""

from __future__ import annotations

import re

from app.serving.admission import Admission
from app.serving.line import Line
from app.serving.metrics import Metrics

_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
_USED = re.compile(r"\b(?:gpen|process)_\w+")
# those that are there when there is a GPU
_OF_A_GPU = {"gpen_device_memory_reserved_bytes", "gpen_device_memory_free_bytes"}


def metric_names() -> set[str]:
    """All that a running service may report."""
    metrics = Metrics()
    line = Line(limit=1, most_pixels=1, readers=1, at_once=1)
    metrics.watch_admission(Admission(line, max_requests=1, max_bytes=1, parallel=1))
    metrics.watch_answers(lambda: 0, 1)
    metrics.watch_devices(["cpu"])
    metrics.watch_queue(lambda: 0, 1)
    described = {
        family.name + suffix
        for family in metrics.registry.collect()
        for suffix in _SUFFIXES.get(family.type, ())
    }
    return described | _OF_A_GPU


def used_names(expression: str) -> set[str]:
    """Those in an expression for Prometheus."""
    return set(_USED.findall(expression))
