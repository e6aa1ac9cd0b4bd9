import json
import pickle
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from model.checkpoints.generator import (
    WeightsMetadata,
    load_generator,
    read_metadata,
    read_state_dict,
    save_generator,
)
from model.networks import Architecture, FullGenerator
from model.state_dicts import WeightsError

ARCHITECTURE = Architecture(64, 1, 1 / 16)
METADATA = WeightsMetadata(
    name="tiny",
    architecture=ARCHITECTURE,
    template="gpen",
    licence="none whatsoever",
    training="not at all, \u201cno\u201d",
)


@pytest.fixture(scope="module")
def generator() -> FullGenerator:
    torch.manual_seed(0)
    return ARCHITECTURE.generator().eval()


@torch.no_grad()
def restore(generator: FullGenerator) -> torch.Tensor:
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    restored: torch.Tensor = generator(x)
    return restored


@pytest.mark.parametrize("name", ["published.pth", "published.pt"])
@pytest.mark.parametrize("nested", [False, True])
def test_published_weights(generator, tmp_path, name, nested):
    state = generator.state_dict()
    torch.save({"g_ema": state, "g": {}, "d": {}} if nested else state, tmp_path / name)
    loaded, metadata = load_generator(tmp_path / name)
    assert metadata is None
    assert read_metadata(tmp_path / name) is None
    assert torch.equal(restore(loaded), restore(generator))


def test_a_loaded_generator_is_ready_to_serve(generator, tmp_path):
    torch.save(
        {key: value.half() for key, value in generator.state_dict().items()}, tmp_path / "g.pth"
    )
    loaded, _ = load_generator(tmp_path / "g.pth")
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loaded.size == 64


def test_our_weights(generator, tmp_path):
    path = tmp_path / "ours.safetensors"
    save_generator(generator.state_dict(), METADATA, path)
    loaded, metadata = load_generator(path)
    assert metadata == METADATA == read_metadata(path)
    torch.testing.assert_close(restore(loaded), restore(generator), rtol=0.02, atol=0.02)
    for key, value in generator.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.half().float())


def test_what_our_file_holds(generator, tmp_path):
    path = tmp_path / "ours.safetensors"
    save_generator(generator.state_dict(), METADATA, path)
    with safe_open(path, framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
        stated = json.loads(file.metadata()["gpen"])
    assert stated["architecture"] == {"size": 64, "channel_multiplier": 1, "narrow": 1 / 16}
    assert stated["training"] == METADATA.training
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(_touched(tmp_path).stat().st_mode)


def _touched(folder: Path) -> Path:
    path = folder / "ordinary"
    path.touch()
    return path


def test_a_generator_is_saved_where_it_can_be(generator, tmp_path):
    with pytest.raises(FileNotFoundError):
        save_generator(generator.state_dict(), METADATA, tmp_path / "none" / "ours.safetensors")


class Payload:
    """Pickled, this is a call."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_code_in_a_pickle_is_not_run(generator, tmp_path, suffix):
    path, trace = tmp_path / f"weights{suffix}", tmp_path / "trace"
    torch.save({"g_ema": generator.state_dict(), "extra": Payload(trace)}, path)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_generator(path)
    path.write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(WeightsError, match="cannot be read"):
        load_generator(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04", bytes(4096)], ids=len)
def test_garbage(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name) as raised:
        load_generator(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_half_a_file(generator, tmp_path):
    for name in ("weights.pth", "weights.safetensors"):
        path = tmp_path / name
        if path.suffix == ".pth":
            torch.save(generator.state_dict(), path)
        else:
            save_generator(generator.state_dict(), METADATA, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(WeightsError, match="cannot be read"):
            load_generator(path)


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors"])
def test_a_missing_file(tmp_path, name):
    with pytest.raises(WeightsError, match="No such file"):
        load_generator(tmp_path / name)


def test_weights_of_something_else(tmp_path):
    path = tmp_path / "weights.pth"
    for document in ([1, 2], {"step": 3}, {"g_ema": 5}):
        torch.save(document, path)
        with pytest.raises(WeightsError, match="no state dict"):
            load_generator(path)
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(WeightsError, match="not the weights of a GPEN generator"):
        load_generator(path)


def test_weights_that_do_not_fit(generator, tmp_path):
    path = tmp_path / "weights.pth"
    missing, extra, shape = (dict(generator.state_dict()) for _ in range(3))
    del missing["generator.to_rgb1.bias"]
    extra["generator.to_rgb2.bias"] = torch.zeros(1, 3, 1, 1)
    shape["generator.to_rgb1.bias"] = torch.zeros(1, 4, 1, 1)
    for state, key in ((missing, "to_rgb1.bias"), (extra, "to_rgb2.bias"), (shape, "to_rgb1.bias")):
        torch.save(state, path)
        with pytest.raises(WeightsError, match=key) as raised:
            load_generator(path)
        assert "\n" not in str(raised.value)


def test_safetensors_of_others(generator, tmp_path):
    """Without our metadata they may still be weights; with broken metadata they are not ours."""
    path = tmp_path / "weights.safetensors"
    save_file(generator.state_dict(), path)
    loaded, metadata = load_generator(path)
    assert metadata is None
    assert torch.equal(restore(loaded), restore(generator))
    save_file(generator.state_dict(), path, {"gpen": '{"name": "tiny"}'})
    with pytest.raises(WeightsError):
        read_state_dict(path)
