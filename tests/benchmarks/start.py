"""``python -m tests.benchmarks.start``: until the service is healthy, against ``import torch``.

By turns: ``gpen serve`` with the starter until ``/health`` is 200, its engines prepared before, and
a Python that imports torch and ends.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from statistics import median

from tests.benchmarks.report import Machine, add_json, keep, tell
from tests.soak.scenarios import MODEL, prepare

PATIENCE_S = 120.0
_PAUSE_S = 0.01


@dataclass(frozen=True)
class Start:
    """Seconds."""

    healthy: float
    """Median."""
    import_torch: float
    """Median."""
    ratio: float
    healthy_runs: list[float]
    import_torch_runs: list[float]


def measure(runs: int, warm_up: int = 1) -> Start:
    """After some of each that do not count: they fill the caches of the file system."""
    both = [(seconds_to_healthy(), seconds_to_import()) for _ in range(warm_up + runs)][warm_up:]
    healthy, imported = (list(seconds) for seconds in zip(*both, strict=True))
    ratio = median(healthy) / median(imported)
    return Start(median(healthy), median(imported), ratio, healthy, imported)


def seconds_to_import() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - start


def seconds_to_healthy() -> float:
    """Raises RuntimeError when the server ends, or is not healthy in time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "GPEN_MODEL": MODEL, "GPEN_DRAIN_S": "0"},
    )
    try:
        while not _healthy(port):
            if process.poll() is not None or time.perf_counter() - start > PATIENCE_S:
                raise RuntimeError("the server did not become healthy")
            time.sleep(_PAUSE_S)
        return time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(20)


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    with closing(connection), suppress(OSError):  # nobody listens yet
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False


def text(start: Start) -> str:
    return (
        f"healthy after {start.healthy:.2f} s, `import torch` takes {start.import_torch:.2f} s: "
        f"ratio {start.ratio:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.start", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    add_json(parser)
    options = parser.parse_args()
    prepare()
    start = measure(options.runs)
    tell(f"{Machine.this()}\n{text(start)}")
    keep(options.json, "start", asdict(start))


if __name__ == "__main__":
    main()
