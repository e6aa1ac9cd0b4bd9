import numpy as np
import pytest
import torch

from app.engines.build import prepare
from app.engines.cache import EngineCache
from app.engines.candidates import Measurement, candidates
from app.engines.engine import EngineError
from app.faces.restore import Restorer
from app.serving.load import DeviceError, _warm_up, choose_devices, load
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
    assert (first.max_batch, second.max_batch) == (1, second.restorer.engine.sizes[-1])
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
    assert "cannot be read and will be converted again" in caplog.text
    prepare(weights, cache, candidates(CPU))
    assert load(settings("openvino")).restorer.engine.name == "openvino"


def test_an_engine_that_failed_here_is_an_error(settings, cache):
    cache.keep([Measurement(engine="torch", precision="fp32", milliseconds=1, psnr=99)])
    with pytest.raises(EngineError, match="engine openvino with precision auto failed"):
        load(settings("openvino"))


@pytest.mark.parametrize(
    ("name", "gpus", "expected"),
    [
        ("auto", 0, ["cpu"]),
        ("cpu", 2, ["cpu"]),
        ("auto", 2, ["cuda:0", "cuda:1"]),
        ("cuda", 2, ["cuda:0", "cuda:1"]),
        ("cuda:1", 2, ["cuda:1"]),
    ],
)
def test_all_gpus_unless_one_is_named(monkeypatch, name, gpus, expected):
    pretend(monkeypatch, gpus)
    assert [str(device) for device in choose_devices(name)] == expected


@pytest.mark.parametrize(("name", "gpus"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there_is_told_of(monkeypatch, name, gpus):
    pretend(monkeypatch, gpus)
    with pytest.raises(DeviceError, match=f"device {name}: PyTorch sees {gpus} GPUs"):
        choose_devices(name)


def pretend(monkeypatch, gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


class Device:
    """An engine on a device with memory for so many faces."""

    device, size, sizes = "cuda:0", 4, (1, 2, 4, 8)

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.seen: list[int] = []

    def __call__(self, crops):
        self.seen.append(len(crops))
        if len(crops) > self.memory:
            raise torch.OutOfMemoryError("no memory")
        return crops


@pytest.mark.parametrize(("memory", "most"), [(1, 1), (5, 4), (8, 8)])
def test_batches_are_as_large_as_the_memory_allows(memory, most, caplog):
    engine = Device(memory)
    assert _warm_up(restorer_on(engine)) == most
    assert engine.seen == [n for n in engine.sizes if n // 2 <= memory]
    assert ("has memory for" in caplog.text) == (most < 8)


def test_a_device_without_memory_for_a_face_is_no_device():
    with pytest.raises(torch.OutOfMemoryError):
        _warm_up(restorer_on(Device(0)))


def restorer_on(engine) -> Restorer:
    return Restorer(engine, "small", "none", np.zeros((5, 2)))
