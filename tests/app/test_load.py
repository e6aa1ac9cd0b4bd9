import numpy as np
import pytest
import torch

from app.engines.build import prepare
from app.engines.cache import EngineCache
from app.engines.candidates import Measurement, candidates
from app.engines.engine import EngineError
from app.load import find_detector, load
from app.retinaface import InBfloat16
from app.settings import Settings
from tests.app.engines.conftest import save_small_generator

pytest.importorskip("openvino", reason="there is no OpenVINO for this processor")
CPU = torch.device("cpu")


@pytest.fixture
def weights(tmp_path):
    return save_small_generator(tmp_path / "small.safetensors")


@pytest.fixture
def cache(weights, tmp_path) -> EngineCache:
    return EngineCache.of(weights, tmp_path / "cache", CPU)


@pytest.fixture
def settings(weights, tmp_path):
    def make(engine="auto", precision="auto") -> Settings:
        return Settings(
            model=str(weights), cache_dir=tmp_path / "cache", engine=engine, precision=precision
        )

    return make


def test_first_by_pytorch_and_when_it_is_prepared_by_what_was_chosen(settings, weights, cache):
    first = load(settings("openvino"))
    assert (first.restorer.engine.name, first.restorer.engine.precision) == ("torch", "fp32")
    assert not first.prepared
    prepare(weights, cache, candidates(CPU))
    second = load(settings("openvino", "fp32"))
    assert (second.restorer.engine.name, second.restorer.engine.precision) == ("openvino", "fp32")
    assert second.prepared
    assert (first.max_batch, second.max_batch) == (1, second.restorer.engine.batch)
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    one, other = first.restorer(crops), second.restorer(crops)
    assert np.abs(one.astype(int) - other).max() <= 1


def test_auto_takes_the_fastest_of_the_faithful(settings, weights, cache):
    prepare(weights, cache, candidates(CPU, "openvino", "fp32"))
    times = {"torch": 5.0, "openvino": 9.0}
    cache.keep(
        [
            Measurement(engine=name, precision="fp32", milliseconds=ms, psnr=99)
            for name, ms in times.items()
        ]
    )
    assert load(settings()).restorer.engine.name == "torch"


def test_nothing_is_to_be_prepared_for_what_was_asked_for(settings, cache):
    loaded = load(settings("torch", "fp32"))
    assert loaded.prepared
    assert not cache.folder.exists()


def test_what_cannot_be_read_is_made_again(settings, weights, cache, caplog):
    prepare(weights, cache, candidates(CPU))
    cache.converted.write_text("broken")
    loaded = load(settings("openvino"))
    assert loaded.restorer.engine.name == "torch"
    assert not loaded.prepared
    assert "cannot be read, and is made again" in caplog.text
    prepare(weights, cache, candidates(CPU))
    assert load(settings("openvino")).restorer.engine.name == "openvino"


def test_what_failed_here_is_told_of(settings, cache):
    cache.keep([Measurement(engine="torch", precision="fp32", milliseconds=1, psnr=99)])
    with pytest.raises(EngineError, match="engine openvino with precision auto failed"):
        load(settings("openvino"))


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32", "fp16"])
def test_the_detector_is_quick_where_it_may_be(settings, monkeypatch, precision, there):
    monkeypatch.setattr("app.load._has_quick_bfloat16", lambda _: there)
    detector = find_detector(settings(precision=precision), CPU)
    assert isinstance(detector, InBfloat16) == (there and precision in ("auto", "bf16"))
