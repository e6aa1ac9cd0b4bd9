import copy

import pytest
import torch

from model.networks import FullGenerator
from model.state import TrainingState, read_checkpoint


@pytest.fixture
def state(make_config) -> TrainingState:
    return TrainingState.fresh(make_config())


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


def train_a_little(state: TrainingState) -> None:
    """Noise for gradients, so that nothing is as it was at the start."""
    for network, optimizer in (
        (state.generator, state.optimizer_g),
        (state.discriminator, state.optimizer_d),
    ):
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    state.update_ema(0.5)
    state.step, state.best_psnr = 7, 21.5


def test_a_fresh_state(state, make_config):
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(state.ema(x), x, rtol=0, atol=1e-5)
    assert equal(state.ema, state.generator)
    assert not state.ema.training
    assert not any(parameter.requires_grad for parameter in state.ema.parameters())
    assert equal(state.generator, TrainingState.fresh(make_config()).generator)
    assert not equal(state.generator, TrainingState.fresh(make_config(seed=1)).generator)


def test_moving_average(state):
    before = copy.deepcopy(state.ema)
    train_a_little(state)
    state.ema.load_state_dict(before.state_dict())
    state.update_ema(0.75)
    for old, new, average in zip(
        before.parameters(), state.generator.parameters(), state.ema.parameters(), strict=True
    ):
        torch.testing.assert_close(average, 0.75 * old + 0.25 * new)


def test_a_checkpoint_restores_everything(state, make_config, tmp_path):
    train_a_little(state)
    state.save(tmp_path / "last.pt", make_config())
    drawn = torch.rand(3)

    other = TrainingState.fresh(make_config(seed=9))
    other.restore(tmp_path / "last.pt", make_config(seed=9))
    assert torch.equal(torch.rand(3), drawn)
    assert (other.step, other.best_psnr) == (7, 21.5)
    for name in ("generator", "discriminator", "ema"):
        assert equal(getattr(other, name), getattr(state, name)), name
    for name in ("optimizer_g", "optimizer_d"):
        ours, theirs = getattr(state, name).state_dict(), getattr(other, name).state_dict()
        assert ours["param_groups"] == theirs["param_groups"]
        for key, moments in ours["state"].items():
            for moment, value in moments.items():
                assert torch.equal(value, theirs["state"][key][moment])


def test_what_a_checkpoint_holds(state, make_config, tmp_path):
    state.save(tmp_path / "last.pt", make_config())
    document = torch.load(tmp_path / "last.pt", weights_only=True)
    assert list(document) == [
        *("g", "d", "g_ema", "g_optim", "d_optim", "step", "best_psnr", "rng", "config")
    ]
    assert document["config"]["train"]["img_size"] == 64
    FullGenerator(64, channel_multiplier=1, narrow=1 / 16).load_state_dict(document["g_ema"])
    assert list(tmp_path.iterdir()) == [tmp_path / "last.pt"]


def test_saving_is_all_or_nothing(state, make_config, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    state.save(path, make_config())
    before = path.read_bytes()

    def disk_full(_document, target):
        target.write_bytes(b"half a checkpoint")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    state.step = 99
    with pytest.raises(OSError, match="No space"):
        state.save(path, make_config())
    assert path.read_bytes() == before


def test_files_that_are_no_checkpoints(state, tmp_path):
    text, weights, empty = (tmp_path / name for name in ("a.pt", "b.pt", "c.pt"))
    text.write_text("no checkpoint")
    torch.save(state.generator.state_dict(), weights)
    empty.touch()
    for path in (text, weights, empty):
        with pytest.raises(ValueError, match="is no checkpoint") as raised:
            read_checkpoint(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pt")


def test_another_architecture_is_refused(state, make_config, tmp_path):
    state.save(tmp_path / "last.pt", make_config())
    larger = make_config(img_size=128)
    with pytest.raises(ValueError, match=r"size=64.*size=128"):
        TrainingState.fresh(larger).restore(tmp_path / "last.pt", larger)
