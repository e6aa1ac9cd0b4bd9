import logging

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoints.generator import WeightsMetadata, save_generator
from model.networks import Architecture
from model.state_dicts import WeightsError
from model.training.pretrained import load_initial_discriminator, load_initial_generator
from model.training.state import TrainingState

ARCHITECTURE = Architecture(64, 1, 1 / 16)


@pytest.fixture(scope="module")
def g() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return ARCHITECTURE.generator().state_dict()


@pytest.fixture(scope="module")
def d() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return ARCHITECTURE.discriminator().state_dict()


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_kinds_of_files(g, d, tmp_path):
    other = ARCHITECTURE.generator().state_dict()
    documents = {
        "plain.pth": g,
        "wrapped.pt": {"g_ema": g},
        "trainer.pth": {"g": other, "d": d, "g_ema": g, "g_optim": {"state": {}}, "d_optim": {}},
        "latest.pth": {"g": g},
        "parallel.pth": {f"module.{key}": value for key, value in g.items()},
    }
    for name, document in documents.items():
        torch.save(document, tmp_path / name)
    save_file(g, tmp_path / "plain.safetensors")
    for name in (*documents, "plain.safetensors"):
        generator = ARCHITECTURE.generator()
        loaded = load_initial_generator(generator, tmp_path / name)
        assert equal(generator.state_dict(), g), name
        assert (loaded.missing, loaded.unused) == ([], [])

    torch.save(d, tmp_path / "d.pth")
    for name in ("d.pth", "trainer.pth"):
        discriminator = ARCHITECTURE.discriminator()
        load_initial_discriminator(discriminator, tmp_path / name)
        assert equal(discriminator.state_dict(), d), name


def test_our_own_weights_and_checkpoints(g, make_config, tmp_path):
    metadata = WeightsMetadata(
        name="x", architecture=ARCHITECTURE, template="gpen", licence="", training=""
    )
    save_generator(g, metadata, tmp_path / "half.safetensors")
    config = make_config(initial={"g": tmp_path / "half.safetensors"})
    state = TrainingState.fresh(config)
    assert equal(state.generator.state_dict(), {k: v.half().float() for k, v in g.items()})
    assert equal(state.ema.state_dict(), state.generator.state_dict())

    torch.save(vars(state.checkpoint(config, 2, [])), tmp_path / "last.pt")
    both = {"g": tmp_path / "last.pt", "d": tmp_path / "last.pt"}
    again = TrainingState.fresh(make_config(seed=5, initial=both))
    assert equal(again.generator.state_dict(), state.generator.state_dict())
    assert equal(again.discriminator.state_dict(), state.discriminator.state_dict())


@pytest.mark.parametrize("prefix", ["generator.", ""])
def test_a_prior_leaves_the_encoder_as_it_was(g, tmp_path, caplog, prefix):
    names = {key.removeprefix("generator."): key for key in g if key.startswith("generator.")}
    prior = {prefix + short: g[key] for short, key in names.items()}
    torch.save({"g_ema": prior}, tmp_path / "prior.pth")
    generator = ARCHITECTURE.generator()
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    with caplog.at_level(logging.INFO):
        loaded = load_initial_generator(generator, tmp_path / "prior.pth")
    after = generator.state_dict()
    assert equal({k: after[k] for k in names.values()}, {k: g[k] for k in names.values()})
    assert equal({k: after[k] for k in loaded.missing}, {k: before[k] for k in loaded.missing})
    assert all(key.startswith(("ecd", "final_linear")) for key in loaded.missing)
    assert (
        f"{len(names)} of {len(g)} tensors loaded; not in the file, left as initialised: ecd0"
        in caplog.text
    )


def test_what_is_of_no_use_is_said(g, tmp_path, caplog):
    torch.save(g | {"noises.noise_0": torch.zeros(1)}, tmp_path / "g.pth")
    with caplog.at_level(logging.INFO):
        load_initial_generator(ARCHITECTURE.generator(), tmp_path / "g.pth")
    assert "not in the network, ignored: noises.noise_0" in caplog.text


def test_files_that_will_not_do(g, d, tmp_path):
    text, other, larger = (tmp_path / name for name in ("text.pth", "d.pth", "larger.pth"))
    text.write_text("no weights")
    torch.save(d, other)
    torch.save(Architecture(64, 1, 1 / 8).generator().state_dict(), larger)
    torch.save({"generator": 3}, tmp_path / "numbers.pth")
    for path, complaint in (
        (text, "cannot be read: "),
        (other, "has no weights of a generator"),
        (larger, r"another architecture: ecd0.0.0.weight is \(32, 3, 1, 1\), not \(16, 3, 1, 1\)"),
        (tmp_path / "numbers.pth", "holds no state dict"),
        (tmp_path / "none.pth", "No such file"),
    ):
        with pytest.raises(WeightsError, match=complaint) as raised:
            load_initial_generator(ARCHITECTURE.generator(), path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    torch.save(g, tmp_path / "g.pth")
    with pytest.raises(WeightsError, match="no weights of a discriminator"):
        load_initial_discriminator(ARCHITECTURE.discriminator(), tmp_path / "g.pth")
