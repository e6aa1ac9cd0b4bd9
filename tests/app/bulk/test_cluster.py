"""Photos on the machines of a Ray cluster.  Ray runs in processes of its own."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.bulk.cluster import ClusterError, Share, shares
from tests.conftest import REPOSITORY

START_S = 200
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is missing")


def node(cores: int, gpus: int = 0, *, alive: bool = True) -> dict[str, object]:
    return {"Alive": alive, "Resources": {"CPU": float(cores), "GPU": float(gpus)}}


@pytest.mark.parametrize(
    ("nodes", "workers", "share"),
    [
        ([node(2)], None, Share(1, 2, 0)),
        ([node(2)], 2, Share(2, 1, 0)),
        ([node(2)], 5, Share(2, 1, 0)),
        ([node(16), node(0)], None, Share(4, 4, 0)),
        ([node(16), node(6)], None, Share(5, 4, 0)),
        ([node(16), node(6)], 6, Share(6, 3, 0)),
        ([node(16), node(16, alive=False)], 2, Share(2, 4, 0)),
        ([node(8), node(16, 2), node(64, 4)], None, Share(6, 8, 1)),
        ([node(16, 4)], 2, Share(2, 4, 1)),
        ([node(16, 4)], 9, Share(4, 4, 1)),
    ],
)
def test_shares_fit_on_the_machines(
    nodes: list[dict[str, object]], workers: int | None, share: Share
) -> None:
    assert shares(nodes, workers, on_gpu=True) == share


def test_no_gpus_are_taken_where_none_are_wanted() -> None:
    assert shares([node(16, 4)], None, on_gpu=False) == Share(4, 4, 0)


def test_a_cluster_without_cores_is_refused() -> None:
    with pytest.raises(ClusterError, match="no cores"):
        shares([node(0)], None, on_gpu=True)


def start(*arguments: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """``gpen enhance`` with a group of processes of its own."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", "enhance", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finished(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(START_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def written(out: Path) -> dict[str, tuple[int, int]]:
    """Results by name, with what changes when one is written again."""
    found = [path for path in out.rglob("*") if path.suffix in (".jpg", ".png")]
    return {str(p.relative_to(out)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}


def settled(out: Path) -> dict[str, tuple[int, int]]:
    """Results when no more come: workers outlive a run that is killed by a moment."""
    before, deadline = written(out), time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(3)
        if (now := written(out)) == before:
            break
        before = now
    return before


@needs_ray
@pytest.mark.timeout(600)
@pytest.mark.long
def test_killed_and_resumed_no_work_is_done_twice(
    astronaut: NDArray[np.uint8], tmp_path: Path
) -> None:
    """24 photos, two of them broken, and two workers; SIGKILL when the first results are there."""
    photos, out, log = tmp_path / "photos", tmp_path / "out", tmp_path / "log"
    for i in range(24):
        path = photos / "abc"[i % 3] / f"{i:02d}.{'jpg' if i % 2 else 'bmp'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(astronaut[:300, 80:380], i, axis=1)).save(path)
    broken = [photos / "a" / "03.jpg", photos / "c" / "20.bmp"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:500])
    command = [
        *("-i", str(photos), "-o", str(out), "--model", "gpen-starter-256"),
        *("--ray", "--ray-workers", "2"),
    ]
    run = start(*command, log=log)
    deadline = time.monotonic() + START_S
    while len(written(out)) < 3 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    before = settled(out)
    assert 3 <= len(before) < 22, log.read_text()

    assert finished(start(*command, "--resume", log=log)) == 1, log.read_text()
    after = written(out)
    assert len(after) == 22, log.read_text()
    assert {name: after[name] for name in before} == before
    assert log.read_text().count(" faces restored") == 22 - len(before)
    lines = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert {line["path"] for line in lines} == {str(path) for path in broken}
    assert {line["type"] for line in lines} == {"broken-picture"}
    assert not list(out.rglob(".*"))  # nothing half written

    again = start("-i", str(photos / "a"), "-o", str(tmp_path / "here"), *command[4:6], log=log)
    assert finished(again) == 1
    for path in (tmp_path / "here").glob("*.*g"):
        here, there = (np.asarray(Image.open(p)) for p in (path, out / "a" / path.name))
        assert np.abs(here.astype(int) - there).max() <= 2, path  # threads round otherwise


@needs_ray
def test_a_worker_that_cannot_start_ends_it_in_one_line(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    log = tmp_path / "log"
    arguments = (
        "-i",
        str(tmp_path),
        "-o",
        str(tmp_path / "out"),
        "--model",
        "nothing.pth",
        "--ray",
    )
    assert finished(start(*arguments, log=log)) == 1
    last = log.read_text().strip().splitlines()[-1]
    assert last.startswith("error: a worker cannot start: nothing.pth is neither")


def test_without_ray_and_without_a_cluster(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ImportError")
    log = tmp_path / "log"
    arguments = ("-i", str(tmp_path), "-o", str(tmp_path / "out"), "--ray")
    assert finished(start(*arguments, log=log, PYTHONPATH=str(tmp_path))) == 1
    assert log.read_text() == "error: Ray is not installed: pip install 'gpen-portrait[ray]'\n"
    if importlib.util.find_spec("ray") is not None:
        assert finished(start(*arguments, "127.0.0.1:1", log=log)) == 1
        assert log.read_text() == "error: Ray at 127.0.0.1:1: [Errno 111] Connection refused\n"
