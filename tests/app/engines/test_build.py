import numpy as np
import pytest
import torch

from app.engines import build as module
from app.engines.build import build, prepare
from app.engines.cache import EngineCache
from app.engines.candidates import FAITHFUL_DB, Candidate, candidates
from app.engines.samples import sample_crops

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
