"""Photos on one machine."""

import os
from collections.abc import Generator, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from app.bulk.machine import Machine, enhance_alone
from app.bulk.outcome import Outcome, Problem
from app.bulk.plan import Job
from app.engines.engine import Crops, Engine
from app.errors import NotServing
from app.options import EnhanceOptions
from app.serving.load import Loaded
from app.settings import Settings


@pytest.fixture
def jobs(astronaut: NDArray[np.uint8], tmp_path: Path) -> list[Job]:
    """Eight photos of one face each, and one that is none."""
    jobs = []
    for i in range(9):
        source = tmp_path / "in" / f"{i}.png"
        source.parent.mkdir(exist_ok=True)
        Image.fromarray(np.roll(astronaut[:300, 80:380], 3 * i, axis=1)).save(source)
        jobs.append(Job(i, source, tmp_path / "out" / source.name, done=False))
    jobs[4].source.write_text("no picture")
    return jobs


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As a machine of two cores has for each photo: other numbers round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def levels(path: Path) -> NDArray[np.int16]:
    return np.asarray(Image.open(BytesIO(path.read_bytes())), dtype=np.int16)


class Spy:
    """An engine that counts, and fails on demand."""

    def __init__(self, engine: Engine, *, broken: bool = False) -> None:
        self.engine = engine
        self.batches: list[int] = []
        self.broken = broken

    def __getattr__(self, name: str) -> object:
        return getattr(self.engine, name)

    def __call__(self, crops: Crops) -> Crops:
        self.batches.append(len(crops))
        if self.broken:
            raise RuntimeError("the device is gone")
        return self.engine(crops)


def watched(loaded: Loaded, max_batch: int, *, broken: bool = False) -> tuple[Loaded, Spy]:
    spy = Spy(loaded.restorer.engine, broken=broken)
    restorer = replace(loaded.restorer, engine=cast(Engine, spy))
    return replace(loaded, restorer=restorer, max_batch=max_batch, max_wait=0.2), spy


def test_as_alone_to_the_bit_and_one_that_fails_costs_the_others_nothing(
    loaded: Loaded, jobs: list[Job], tmp_path: Path, one_thread: None
) -> None:
    settings, options = Settings(), EnhanceOptions()
    with Machine(loaded, settings, options, cores=2) as machine:
        outcomes = {outcome.job.number: outcome for outcome in machine.enhance_all(jobs)}
    assert sorted(outcomes) == list(range(9))
    for job in jobs:
        again = replace(job, target=tmp_path / "alone" / job.source.name)
        alone = enhance_alone(again, loaded, settings, options)
        assert alone == replace(outcomes[job.number], job=again)
        if job.number == 4:
            assert alone.problem is not None
            assert alone.problem.kind == "unsupported-picture"
            assert not job.target.exists()
        else:
            assert (alone.faces, alone.problem) == (1, None)
            assert job.target.read_bytes() == again.target.read_bytes()
            assert np.abs(levels(job.target) - levels(job.source)).max() > 10


def test_faces_of_several_photos_share_batches(loaded: Loaded, jobs: list[Job]) -> None:
    watching, spy = watched(loaded, max_batch=4)
    with Machine(watching, Settings(), EnhanceOptions(), cores=2) as machine:
        assert len(list(machine.enhance_all(jobs))) == 9
    assert sum(spy.batches) == 8
    assert max(spy.batches) > 1


def test_photos_are_asked_for_as_they_get_done(loaded: Loaded, jobs: list[Job]) -> None:
    asked = 0

    def endless() -> Iterator[Job]:
        nonlocal asked
        while True:
            asked += 1
            yield replace(jobs[4], number=asked)

    with Machine(loaded, Settings(), EnhanceOptions(), cores=1) as machine:
        outcomes = machine.enhance_all(endless())
        for _ in range(20):
            assert next(outcomes).problem is not None
        assert isinstance(outcomes, Generator)
        outcomes.close()
    assert asked <= 20 + 2 * (1 + loaded.max_batch)


def test_large_photos_wait_for_memory(loaded: Loaded, jobs: list[Job]) -> None:
    """Where the service would refuse them."""
    settings = Settings(max_pixels_in_flight=1)
    with Machine(loaded, settings, EnhanceOptions(), cores=2) as machine:
        outcomes = list(machine.enhance_all(jobs))
    assert sum(outcome.problem is None for outcome in outcomes) == 8


def test_a_device_that_fails_ends_it(loaded: Loaded, jobs: list[Job]) -> None:
    broken, _ = watched(loaded, max_batch=1, broken=True)
    dead: list[bool] = []
    machine = Machine(broken, Settings(), EnhanceOptions(), 1, lambda: dead.append(True))
    with machine, pytest.raises(NotServing):
        list(machine.enhance_all(jobs))
    assert dead


def test_a_folder_in_the_place_of_a_result_is_told(loaded: Loaded, jobs: list[Job]) -> None:
    jobs[0].target.mkdir(parents=True)
    outcome = enhance_alone(jobs[0], loaded, Settings(), EnhanceOptions())
    assert isinstance(outcome, Outcome)
    assert isinstance(outcome.problem, Problem)
    assert outcome.problem.kind == "file"
    assert "directory" in outcome.problem.detail


def test_a_pipe_in_the_place_of_a_photo_is_told(loaded: Loaded, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    job = Job(0, tmp_path / "a.jpg", tmp_path / "out.jpg", done=False)
    with Machine(loaded, Settings(), EnhanceOptions(), cores=1) as machine:
        (outcome,) = machine.enhance_all([job])
    assert outcome.problem == Problem("unsupported-picture", "It is not a regular file.")
