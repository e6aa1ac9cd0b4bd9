import subprocess
import sys

import numpy as np
import pytest
import torch

from app.engines import build as module
from app.engines.build import build, prepare
from app.engines.cache import EngineCache
from app.engines.candidates import FAITHFUL_DB, Candidate, candidates
from app.engines.samples import sample_crops
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")


@pytest.fixture
def cache(weights, tmp_path) -> EngineCache:
    return EngineCache.of(weights, tmp_path, CPU)


def test_everything_this_machine_has_is_prepared_and_works(weights, cache, crops):
    wanted = candidates(CPU)
    measurements = prepare(weights, cache, wanted)
    assert [Candidate(m.engine, m.precision) for m in measurements] == wanted
    assert measurements == cache.measurements()
    assert all(m.milliseconds > 0 for m in measurements)
    for m in measurements:
        assert m.psnr > (FAITHFUL_DB if m.precision == "fp32" else 25)
    engines = [build(candidate, weights, cache) for candidate in wanted]
    assert [(e.name, e.precision) for e in engines] == [(c.engine, c.precision) for c in wanted]
    restored = [engine(crops[:2]) for engine in engines]
    assert all(np.abs(r.astype(int) - restored[0]).mean() < 8 for r in restored)


def test_the_conversion_is_not_done_twice(weights, cache):
    pytest.importorskip("openvino")
    prepare(weights, cache, [Candidate("openvino", "fp32")])
    before = cache.converted.stat().st_mtime_ns
    prepare(weights, cache, [Candidate("openvino", "fp32")])
    assert cache.converted.stat().st_mtime_ns == before


def test_a_candidate_that_fails_is_left_out(weights, cache, monkeypatch, caplog):
    real = module.build

    def failing(candidate, *arguments):
        if candidate.precision == "bf16":
            raise RuntimeError("no such instruction")
        return real(candidate, *arguments)

    monkeypatch.setattr(module, "build", failing)
    measurements = prepare(weights, cache, [Candidate("torch", "bf16")])
    assert [(m.engine, m.precision) for m in measurements] == [("torch", "fp32")]
    assert "torch with bf16 fails: no such instruction" in caplog.text


@pytest.mark.parametrize("size", [64, 256])
def test_samples_are_different_faces(size):
    crops = sample_crops(size)
    assert crops.shape == (4, size, size, 3)
    assert crops.dtype == np.uint8
    assert len({crop.tobytes() for crop in crops}) == 4
    assert crops.std(axis=(1, 2, 3)).min() > 10
    assert np.array_equal(crops, sample_crops(size))


def test_what_has_been_prepared_is_kept_unless_asked_for_again(weights, cache):
    wanted = [Candidate("torch", "fp32")]
    first = prepare(weights, cache, wanted)
    marked = [first[0].model_copy(update={"milliseconds": 12345.0})]
    cache.keep(marked)
    assert prepare(weights, cache, wanted) == marked
    assert prepare(weights, cache, wanted, again=True) != marked


def test_a_conversion_that_others_could_have_written_is_not_read(weights, cache, monkeypatch):
    monkeypatch.setattr(module, "_ROUNDS", 1)
    pytest.importorskip("openvino")
    candidate = Candidate("openvino", "fp32")
    prepare(weights, cache, [candidate])
    cache.converted.chmod(0o666)
    with pytest.raises(RuntimeError, match="others could have written it"):
        build(candidate, weights, cache)
    prepare(weights, cache, [candidate], again=True)  # makes it anew
    assert build(candidate, weights, cache).size == 64


_PREPARE = """
import sys, time
from pathlib import Path
import torch
from app.engines import build
from app.engines.cache import EngineCache
from app.engines.candidates import Measurement

def measure(*_):
    with Path(sys.argv[3]).open("a") as file:
        file.write("measured\\n")
    time.sleep(1)  # so that the other comes meanwhile
    return [Measurement(engine="torch", precision="fp32", milliseconds=1, psnr=99)]

build._measure = measure
weights, cache = map(Path, sys.argv[1:3])
build.prepare(weights, EngineCache.of(weights, cache, torch.device("cpu")), [])
"""


def test_of_two_processes_one_prepares(weights, tmp_path):
    command = [sys.executable, "-c", _PREPARE, weights, tmp_path / "cache", tmp_path / "count"]
    processes = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(2)]
    assert [process.wait(100) for process in processes] == [0, 0]
    assert (tmp_path / "count").read_text() == "measured\n"
