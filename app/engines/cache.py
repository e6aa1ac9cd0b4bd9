"""What is prepared for an engine once and kept: the converted generator, and measurements.

A folder for each generator, named after everything that the conversion depends on; in it a file of
measurements for each machine, since a shared folder may be seen by several.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

import model.networks
from app.cores import core_count
from app.engines.candidates import Measurement

_MEASUREMENTS = TypeAdapter(list[Measurement])
_PROCESSOR = Path("/proc/cpuinfo")
_SOURCES = sorted(
    [
        *Path(model.networks.__path__[0]).glob("*.py"),
        *map(Path(__file__).with_name, ("levels.py", "openvino_engine.py")),
    ]
)


@dataclass(frozen=True)
class EngineCache:
    folder: Path
    device: torch.device

    @classmethod
    def of(cls, weights: Path, cache_dir: Path, device: torch.device) -> EngineCache:
        """Of a file of weights, on a device.  Raises OSError when the file cannot be read."""
        digest = hashlib.sha256()
        with weights.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        for source in _SOURCES:
            digest.update(source.read_bytes())
        digest.update(f"{_version('openvino')} {_version('torch')}".encode())
        return cls(cache_dir / "engines" / digest.hexdigest()[:24], device)

    @property
    def converted(self) -> Path:
        """OpenVINO's description of the generator; its weights are beside it."""
        return self.folder / "generator.xml"

    @property
    def _measured(self) -> Path:
        machine = f"{_processor()} {core_count()} {self.device}"
        if self.device.type == "cuda":
            machine += torch.cuda.get_device_name(self.device)
        return self.folder / f"measured-{hashlib.sha256(machine.encode()).hexdigest()[:16]}.json"

    def measurements(self) -> list[Measurement]:
        """Those taken on this machine; none when there are none, or they cannot be read."""
        try:
            return _MEASUREMENTS.validate_json(self._measured.read_bytes())
        except (OSError, ValidationError):
            return []

    def keep(self, measurements: list[Measurement]) -> None:
        """Write them, all at once.  Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            file.write(_MEASUREMENTS.dump_json(measurements, indent=2))
        Path(file.name).replace(self._measured)

    def discard(self) -> None:
        """Remove what cannot be read."""
        for file in (self._measured, self.converted, self.converted.with_suffix(".bin")):
            file.unlink(missing_ok=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _processor() -> str:
    """Name and instructions of the processor."""
    try:
        lines = _PROCESSOR.read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(kept)}))
