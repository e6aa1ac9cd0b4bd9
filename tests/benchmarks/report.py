"""What every benchmark tells: on which machine, when, what; as text, and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

_PROCESSOR = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    processor: str
    cores: int
    """That this process may use."""
    gpu: str | None
    torch: str
    """Version."""
    threads: int
    """Of PyTorch."""
    date: str
    """UTC, ISO 8601."""

    @classmethod
    def this(cls) -> Machine:
        return cls(
            _processor(),
            len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
            torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            torch.__version__,
            torch.get_num_threads(),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def __str__(self) -> str:
        gpu = "" if self.gpu is None else f", {self.gpu}"
        return f"{self.processor}, {self.cores} cores{gpu}, torch {self.torch}, {self.date}"


def _processor() -> str:
    try:
        lines = _PROCESSOR.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def keep(path: Path | None, benchmark: str, results: Mapping[str, object]) -> None:
    """Write results, and on which machine they were taken, where a file is wanted."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"benchmark": benchmark, "machine": asdict(Machine.this()), **results}
    path.write_text(json.dumps(kept, indent=2) + "\n")
