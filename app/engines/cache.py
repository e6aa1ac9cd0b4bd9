"""A cache on disk of converted generators, and of how fast each engine is on each machine.

Each generator has a folder, named after a hash of everything that its conversion depends on.
Inside is one file of measurements per kind of machine, because several machines may share the
folder.  Files that other users could have written are ignored.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
_UNUSED_S = 90 * 24 * 3600  # a generator's folder that nobody has read for so long is removed
_SOURCES = sorted(
    [
        *Path(model.networks.__path__[0]).glob("*.py"),
        *map(Path(__file__).with_name, ("levels.py", "onnx_file.py", "openvino_engine.py")),
    ]
)


@dataclass(frozen=True)
class EngineCache:
    """The cached files of one generator, and the measurements taken on one kind of device."""

    folder: Path
    device: torch.device

    @classmethod
    def of(cls, weights: Path, cache_dir: Path, device: torch.device) -> EngineCache:
        """The cache of a file of weights on a device.  Raises OSError if the file is unreadable."""
        digest = hashlib.sha256()
        with weights.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        for source in _SOURCES:
            digest.update(_syntax(source).encode())
        digest.update(f"{_version('openvino')} {_version('torch')}".encode())
        return cls(cache_dir / "engines" / digest.hexdigest()[:24], device)

    @property
    def converted(self) -> Path:
        """The generator's graph in OpenVINO's format; its weights are in the ``.bin`` beside it."""
        return self.folder / "generator.xml"

    @property
    def is_converted(self) -> bool:
        """Whether both files exist and no other user could have written them."""
        files = (self.converted, self.converted.with_suffix(".bin"))
        return self._is_own and all(map(is_own, files))

    @property
    def _is_own(self) -> bool:
        return is_own(self.folder.parent) and is_own(self.folder)

    @property
    def measured(self) -> Path:
        """The file of measurements for this kind of machine; GPUs of one model share it."""
        machine = f"{_processor()} {core_count()} {self.device.type}"
        if self.device.type == "cuda":
            machine += f" {torch.cuda.get_device_name(self.device)}"
        return self.folder / f"measured-{hashlib.sha256(machine.encode()).hexdigest()[:16]}.json"

    def measurements(self) -> list[Measurement]:
        """The measurements taken on this kind of machine.

        Empty if the file is missing or unreadable, or if other users could have written it.
        """
        if not (self._is_own and is_own(self.measured)):
            return []
        with suppress(OSError):  # a cache that is read-only is never cleaned up either
            os.utime(self.folder)
        try:
            return _MEASUREMENTS.validate_json(self.measured.read_bytes())
        except (OSError, ValidationError):
            return []

    def keep(self, measurements: list[Measurement]) -> None:
        """Replace the file of measurements atomically.  Raises OSError, EngineError."""
        self._make_folder()
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
            file.write(_MEASUREMENTS.dump_json(measurements, indent=2))
            os.fchmod(file.fileno(), 0o644)  # temporary files are readable by their owner alone
        Path(file.name).replace(self.measured)

    def remove_unused(self) -> None:
        """Remove the folders of other generators that have not been read for 90 days.

        Files that a process has mapped stay usable until it ends.
        """
        oldest = time.time() - _UNUSED_S
        for folder in self.folder.parent.iterdir():
            with suppress(OSError):  # another process removes it as well, or root owns it
                if is_own(folder) and folder.stat().st_mtime < oldest and folder != self.folder:
                    log.info("removing %s, which has not been used for 90 days", folder)
                    shutil.rmtree(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock, so that one process at a time prepares this generator.

        Raises OSError, EngineError.
        """
        self._make_folder()
        with (self.folder / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("waiting for another process that is preparing the engines")
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:  # some network file systems do not support locks
                log.warning("%s cannot be locked: %s", file.name, error.strerror)
            yield

    def _make_folder(self) -> None:
        self.folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(mode=0o755, exist_ok=True)  # never writable by others, whatever the umask
        if not self._is_own:
            raise EngineError(
                f"{self.folder} belongs to another user, or others can write there: it is not used "
                "for converted models"
            )
        os.utime(self.folder)

    def discard(self) -> None:
        """Remove the conversion and the measurements, so that both are made again."""
        for file in (self.measured, self.converted, self.converted.with_suffix(".bin")):
            file.unlink(missing_ok=True)


def _syntax(source: Path) -> str:
    """A module's syntax tree without docstrings, which comments and layout do not change."""
    tree = ast.parse(source.read_bytes())
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [statement for statement in body if not _is_docstring(statement)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _processor() -> str:
    """The processor's model name and instruction sets."""
    try:
        lines = _PROCESSOR.read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    identifying = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(identifying)}))
