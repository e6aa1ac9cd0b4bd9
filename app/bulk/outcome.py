"""The outcome of each photo, and the list of failed ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from app.bulk.plan import Job
from app.errors import ServiceError


@dataclass(frozen=True)
class Problem:
    kind: str
    """A problem type such as ``broken-picture``, or ``file``, ``internal``, ``worker-died``."""
    detail: str


@dataclass(frozen=True)
class Outcome:
    job: Job
    faces: int
    """How many were restored."""
    problem: Problem | None = None
    """None if the photo was written."""


def problem_of(error: Exception) -> Problem:
    if isinstance(error, ServiceError):
        return Problem(error.slug, error.detail)
    if isinstance(error, OSError):
        return Problem("file", str(error))
    return Problem("internal", f"{type(error).__name__}: {error}")


class FailureList:
    """A file with a JSON object per line for each failed photo; it exists only if there is one."""

    def __init__(self, path: Path) -> None:
        """Remove the previous list.  Raises OSError."""
        self.path = path
        if path.is_file():  # not a device or a pipe
            path.unlink()

    def add(self, job: Job, problem: Problem) -> None:
        """Append a line to the file.  Raises OSError."""
        line = json.dumps({"path": str(job.source), "type": problem.kind, "detail": problem.detail})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="ascii") as file:
            file.write(f"{line}\n")
