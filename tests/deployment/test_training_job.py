"""The Job's own script on one machine that takes itself for two: four processes on the CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import skimage.data
import yaml

from model.training.records import EndRecord, StartRecord
from model.training.state import read_checkpoint
from tests.conftest import REPOSITORY, free_port
from tests.deployment.manifests import manifests, named
from tests.model.training_runs import rows

pytestmark = [pytest.mark.deployment, pytest.mark.long, pytest.mark.timeout(900)]

_PATIENCE_S = 400
_EVICTED = 75

RECIPE = {
    "train": {
        "img_size": 64,
        "batch_size": 2,  # which four processes cannot share: the settings make it 8
        "num_epochs": 400,
        "early_stopping": None,
        "validate_every": 1000,
        "threads": 1,
    },
    "network": {"channel_multiplier": 1, "narrow": 1 / 16},
    "data": {"workers": 0},
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The variables of the manifest, as they are for two machines of two processes."""
    (tmp_path / "faces").mkdir()
    photo = skimage.data.astronaut()
    for i in range(17):  # one of them is held out
        crop = cv2.resize(photo[i : 200 + i, 120:320], (64, 64), interpolation=cv2.INTER_AREA)
        assert cv2.imwrite(str(tmp_path / "faces" / f"{i}.png"), crop)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    configs = REPOSITORY / "model" / "configs"
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "NODES": "2",
        "PROCESSES": "2",
        "HEAD": f"127.0.0.1:{free_port()}",
        "CONFIG": os.path.relpath(tmp_path / "recipe.yaml", configs),
        "SETTINGS": "train.batch_size=8 train.lr_g=0.0004",
        "FACES": str(tmp_path / "faces"),
        "RUN": str(tmp_path / "run"),
    }


def start(environment: dict[str, str]) -> list[subprocess.Popen[str]]:
    """A pod for each of the two machines."""
    job = named(
        manifests(REPOSITORY / "docker/kubernetes/training-job.yaml"), "Job", "gpen-training"
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return [
        subprocess.Popen(
            [*container["command"], *container["args"]],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for _ in range(2)
    ]


def wait_for(path: Path, pods: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        assert all(pod.poll() is None for pod in pods), [pod.communicate()[1] for pod in pods]
        time.sleep(0.2)


def end(pods: list[subprocess.Popen[str]]) -> list[int]:
    """Statuses that the pods exit with; what they have logged is printed."""
    try:
        for pod in pods:
            print(pod.communicate(timeout=_PATIENCE_S)[1])
    finally:
        for pod in pods:
            if pod.poll() is None:
                os.killpg(pod.pid, signal.SIGKILL)
    return [pod.returncode for pod in pods]


def test_four_processes_are_evicted_and_go_on(environment):
    """SIGTERM to one pod ends both, saved; started again, they go on from there to the end."""
    run = Path(environment["RUN"])
    pods = start(environment)
    try:
        wait_for(run / "checkpoints" / "0000004.pt", pods)
        pods[1].terminate()
    finally:
        statuses = end(pods)
    assert statuses == [_EVICTED, _EVICTED]
    (interrupted,) = rows(run, EndRecord)
    assert interrupted.reason == "interrupted"
    assert interrupted.step >= 4
    (begun,) = rows(run, StartRecord)
    assert (begun.processes, begun.micro_batch) == (4, 2)
    assert len(read_checkpoint(run / "last.pt").rng) == 4

    epochs = (interrupted.step + 4) / 2  # an epoch has two steps
    short = environment | {"SETTINGS": f"{environment['SETTINGS']} train.num_epochs={epochs}"}
    assert end(start(short)) == [0, 0]
    assert rows(run, EndRecord)[-1].reason == "finished"
    assert read_checkpoint(run / "last.pt").step == interrupted.step + 4
    assert [row.step for row in rows(run, StartRecord)] == [0, interrupted.step]
