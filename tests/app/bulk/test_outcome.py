"""What became of a photo."""

import json
import os
from pathlib import Path

import pytest

from app.bulk.outcome import FailureList, Problem, problem_of
from app.bulk.plan import Job
from app.errors import BrokenPicture


def job(name: str) -> Job:
    return Job(0, Path(name), Path("out"), done=False)


def test_a_line_each_and_no_file_where_nothing_failed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "failures.jsonl"
    failures = FailureList(path)
    assert not path.exists()
    failures.add(job("a\nb.jpg"), Problem("broken-picture", "It is cut off."))
    failures.add(job("c\udce9.jpg"), Problem("file", "It is gone."))  # a name that is not UTF-8
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {"path": "a\nb.jpg", "type": "broken-picture", "detail": "It is cut off."},
        {"path": "c\udce9.jpg", "type": "file", "detail": "It is gone."},
    ]
    FailureList(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (BrokenPicture("Cut off."), Problem("broken-picture", "Cut off.")),
        (FileNotFoundError(2, "No such file", "a"), Problem("file", "[Errno 2] No such file: 'a'")),
        (KeyError("x"), Problem("internal", "KeyError: 'x'")),
    ],
)
def test_problems(error: Exception, problem: Problem) -> None:
    assert problem_of(error) == problem


def test_a_device_is_written_to_not_removed(tmp_path: Path) -> None:
    pipe = tmp_path / "list"
    os.mkfifo(pipe)
    FailureList(pipe)
    assert pipe.is_fifo()
