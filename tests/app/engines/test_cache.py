import os
import shutil
import stat
import time

import pytest
import torch

from app.engines import cache as module
from app.engines.cache import EngineCache
from app.engines.candidates import Measurement
from app.engines.engine import EngineError
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


def test_gpus_of_one_model_share_their_measurements(weights, tmp_path, monkeypatch):
    names = {0: "H100", 1: "H100", 2: "T4"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])
    first, second, third = (
        EngineCache.of(weights, tmp_path, torch.device("cuda", index)) for index in names
    )
    first.keep(MEASURED)
    assert second.measurements() == MEASURED
    assert third.measurements() == []


def test_comments_and_docstrings_change_no_folder_but_code_does(
    cache, weights, tmp_path, monkeypatch
):
    source = tmp_path / "source.py"
    folders = []
    for text in ('"""A."""\nx = 1\n', '"""B."""\n\nx = 1  # one\n"""Of x."""\n', "x = 2\n"):
        source.write_text(text)
        monkeypatch.setattr(module, "_SOURCES", [source])
        folders.append(EngineCache.of(weights, tmp_path, CPU).folder)
    assert folders[0] == folders[1] != folders[2]


def test_measurements_are_readable_by_all(cache):
    cache.keep(MEASURED)
    assert stat.S_IMODE(cache.measured.stat().st_mode) == 0o644


def test_generators_that_are_not_used_any_more_are_removed(cache, tmp_path):
    for name, days in (("used", 89), ("unused", 91), ("new", 0), ("read", 91)):
        folder = tmp_path / "engines" / name
        folder.mkdir(parents=True, mode=0o755)
        (folder / "generator.bin").touch()
        os.utime(folder, (time.time() - days * 86400,) * 2)
    read = EngineCache(tmp_path / "engines" / "read", CPU)
    read.measured.write_text("[]")
    os.utime(read.folder, (0, 0))
    read.measurements()
    cache.keep(MEASURED)
    os.utime(cache.folder, (0, 0))
    cache.remove_unused()
    left = {folder.name for folder in cache.folder.parent.iterdir()}
    assert left == {"used", "new", "read", cache.folder.name}


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


@pytest.mark.parametrize("place", ["file", "folder", "all engines"])
@pytest.mark.parametrize("change", ["mode", "owner"])
def test_what_others_could_have_written_is_not_used(cache, place, change):
    if change == "owner" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    cache.keep(MEASURED)
    for file in (cache.converted, cache.converted.with_suffix(".bin")):
        file.touch()
        file.chmod(0o644)
    assert cache.is_converted
    changed = {
        "file": [*cache.folder.iterdir()],
        "folder": [cache.folder],
        "all engines": [cache.folder.parent],
    }
    for path in changed[place]:
        if change == "mode":
            path.chmod(path.stat().st_mode | 0o002)
        else:
            os.chown(path, 12345, -1)
    assert not cache.is_converted
    assert cache.measurements() == []
    if place != "file":
        with pytest.raises(EngineError, match="others can write"):
            cache.keep(MEASURED)


def test_a_generous_umask_opens_nothing_to_others(weights, tmp_path):
    before = os.umask(0)
    try:
        cache = EngineCache.of(weights, tmp_path / "new" / "cache", CPU)
        cache.keep(MEASURED)
        assert cache.measurements() == MEASURED
    finally:
        os.umask(before)
