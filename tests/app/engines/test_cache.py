import shutil

import pytest
import torch

from app.engines import cache as module
from app.engines.cache import EngineCache
from app.engines.candidates import Measurement
from tests.app.engines.conftest import save_small_generator

CPU = torch.device("cpu")
MEASURED = [Measurement(engine="torch", precision="fp32", milliseconds=1.5, psnr=99)]


@pytest.fixture
def cache(weights, tmp_path) -> EngineCache:
    return EngineCache.of(weights, tmp_path, CPU)


def test_measurements_are_kept(cache, weights, tmp_path):
    assert cache.measurements() == []
    cache.keep(MEASURED)
    assert EngineCache.of(weights, tmp_path, CPU).measurements() == MEASURED
    assert [file.suffix for file in cache.folder.iterdir()] == [".json"]  # nothing half written


def test_a_copy_of_the_weights_shares_them(cache, weights, tmp_path):
    copied = shutil.copy(weights, tmp_path / "copy.safetensors")
    assert EngineCache.of(copied, tmp_path, CPU).folder == cache.folder


def test_other_weights_have_another_folder(cache, tmp_path):
    other = save_small_generator(tmp_path / "other.safetensors", seed=1)
    assert EngineCache.of(other, tmp_path, CPU).folder != cache.folder


@pytest.mark.parametrize("package", ["openvino", "torch"])
def test_another_version_has_another_folder(cache, weights, tmp_path, monkeypatch, package):
    version = module._version
    monkeypatch.setattr(
        module, "_version", lambda name: "another" if name == package else version(name)
    )
    assert EngineCache.of(weights, tmp_path, CPU).folder != cache.folder


def test_another_processor_has_other_measurements_of_the_same_conversion(
    cache, weights, tmp_path, monkeypatch
):
    cache.keep(MEASURED)
    monkeypatch.setattr(module, "_processor", lambda: "another")
    other = EngineCache.of(weights, tmp_path, CPU)
    assert other.converted == cache.converted
    assert other.measurements() == []


def test_measurements_that_cannot_be_read_are_none(cache):
    cache.keep(MEASURED)
    (file,) = cache.folder.iterdir()
    file.write_text("[{")
    assert cache.measurements() == []


def test_discard(cache):
    cache.keep(MEASURED)
    cache.converted.touch()
    cache.discard()
    assert list(cache.folder.iterdir()) == []
    cache.discard()  # twice
