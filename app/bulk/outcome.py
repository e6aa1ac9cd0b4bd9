"""What became of a photo, and the list of those that failed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from app.bulk.plan import Job
from app.errors import ServiceError


@dataclass(frozen=True)
class Problem:
    kind: str
    """The service's name for it (``broken-picture``), ``file``, ``internal`` or ``worker-died``."""
    detail: str


@dataclass(frozen=True)
class Outcome:
    job: Job
    faces: int
    """Restored."""
    problem: Problem | None = None
    """None for a photo that was written."""


def problem_of(error: Exception) -> Problem:
    if isinstance(error, ServiceError):
        return Problem(error.slug, error.detail)
    if isinstance(error, OSError):
        return Problem("file", str(error))
    return Problem("internal", f"{type(error).__name__}: {error}")


class FailureList:
    """A file with a line of JSON for each photo that failed; none where nothing has."""

    def __init__(self, path: Path) -> None:
        """Begin anew.  Raises OSError."""
        self.path = path
        if path.is_file():  # devices and pipes stay
            path.unlink()

    def add(self, job: Job, problem: Problem) -> None:
        """Add a line, and have it in the file.  Raises OSError."""
        line = json.dumps({"path": str(job.source), "type": problem.kind, "detail": problem.detail})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="ascii") as file:
            file.write(f"{line}\n")
