"""What is prepared for an engine once and kept: the converted generator, and measurements.

A folder for each generator, named after everything that the conversion depends on; in it a file of
measurements for each machine, since a shared folder may be seen by several.  What other users could
have written there is not used.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

import model.networks
from app.cores import core_count
from app.engines.candidates import Measurement
from app.engines.engine import EngineError
from model.checkpoints.ownership import is_own

log = logging.getLogger(__name__)

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
    def is_converted(self) -> bool:
        """Whether a conversion is there that nobody else could have written or changed."""
        files = (self.converted, self.converted.with_suffix(".bin"))
        return self._is_own and all(map(is_own, files))

    @property
    def _is_own(self) -> bool:
        return is_own(self.folder.parent) and is_own(self.folder)

    @property
    def _measured(self) -> Path:
        machine = f"{_processor()} {core_count()} {self.device}"
        if self.device.type == "cuda":
            machine += torch.cuda.get_device_name(self.device)
        return self.folder / f"measured-{hashlib.sha256(machine.encode()).hexdigest()[:16]}.json"

    def measurements(self) -> list[Measurement]:
        """Those taken on this machine.

        None when there are none, when they cannot be read, or when others could have written them.
        """
        if not (self._is_own and is_own(self._measured)):
            return []
        try:
            return _MEASUREMENTS.validate_json(self._measured.read_bytes())
        except (OSError, ValidationError):
            return []

    def keep(self, measurements: list[Measurement]) -> None:
        """Write them, all at once.  Raises OSError, EngineError."""
        self._make_folder()
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            file.write(_MEASUREMENTS.dump_json(measurements, indent=2))
        Path(file.name).replace(self._measured)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within, this process alone prepares; others wait.  Raises OSError, EngineError."""
        self._make_folder()
        with (self.folder / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another process prepares the engines: waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:  # some network file systems know no locks
                log.warning("%s cannot be locked: %s", file.name, error.strerror)
            yield

    def _make_folder(self) -> None:
        self.folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(mode=0o755, exist_ok=True)  # whatever the umask lets others do
        if not self._is_own:
            raise EngineError(
                f"{self.folder} belongs to another user, or others can write there: converted "
                "models are neither kept nor used"
            )

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
