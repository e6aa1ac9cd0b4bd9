import copy

import pytest
import torch

from model.networks import FullGenerator
from model.training.schedule import Stage
from model.training.state import (
    Standing,
    TrainingCheckpoint,
    TrainingState,
    read_checkpoint,
    rng_state,
    write_checkpoint,
)
from tests.model.conftest import full_disk


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
    state.step, state.path_length = 7, 0.25
    state.standing = Standing("joint", best=21.5, reference=21.4, waited=3)


def checkpoint_of(state: TrainingState, config) -> TrainingCheckpoint:
    return state.checkpoint(config, per_epoch=5, rng=[rng_state()])


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


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_checkpoint_restores_everything(make_config, tmp_path, precision):
    state = TrainingState.fresh(make_config(precision=precision))
    train_a_little(state)
    if precision == "fp16":
        state.scaler_g.scale(torch.ones(1))  # makes its scale, which is lazy
        state.scaler_g.update(new_scale=32.0)
    write_checkpoint(checkpoint_of(state, make_config()), tmp_path / "last.pt")
    drawn = torch.rand(3)

    other = TrainingState.fresh(make_config(seed=9, precision=precision))
    other.restore(read_checkpoint(tmp_path / "last.pt"), make_config(seed=9, precision=precision))
    assert torch.equal(torch.rand(3), drawn)
    assert (other.step, other.path_length) == (7, 0.25)
    assert other.standing == state.standing
    assert other.scaler_g.get_scale() == state.scaler_g.get_scale()
    for name in ("generator", "discriminator", "ema"):
        assert equal(getattr(other, name), getattr(state, name)), name
    for name in ("optimizer_g", "optimizer_d"):
        ours, theirs = getattr(state, name).state_dict(), getattr(other, name).state_dict()
        assert ours["param_groups"] == theirs["param_groups"]
        for key, moments in ours["state"].items():
            for moment, value in moments.items():
                assert torch.equal(value, theirs["state"][key][moment])


def test_settings_that_were_changed_count(state, make_config):
    train_a_little(state)
    checkpoint = checkpoint_of(state, make_config())
    changed = make_config(beta2=0.5, weight_decay=0.1)
    state.restore(checkpoint, changed)
    for optimizer in (state.optimizer_g, state.optimizer_d):
        assert optimizer.param_groups[0]["betas"] == (0.9, 0.5)
        assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_each_process_takes_its_own_random_numbers(state, make_config):
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(rng_state())
    checkpoint = state.checkpoint(make_config(), 5, states)
    for process, seed in ((0, 1), (1, 2)):
        state.restore(checkpoint, make_config(), process)
        drawn = torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(drawn, torch.rand(1))
    state.restore(checkpoint, make_config(), process=2)  # which was not there


def test_what_a_checkpoint_holds(state, make_config, tmp_path):
    write_checkpoint(checkpoint_of(state, make_config()), tmp_path / "last.pt")
    document = torch.load(tmp_path / "last.pt", weights_only=True)
    assert list(document)[:5] == ["g", "d", "g_ema", "g_optim", "d_optim"]
    assert document["config"]["train"]["img_size"] == 64
    FullGenerator(64, channel_multiplier=1, narrow=1 / 16).load_state_dict(document["g_ema"])
    assert list(tmp_path.iterdir()) == [tmp_path / "last.pt"]


def test_saving_is_all_or_nothing(state, make_config, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    write_checkpoint(checkpoint_of(state, make_config()), path)
    before = path.read_bytes()

    def disk_full(_document, file):
        file.write(b"half a checkpoint")
        raise RuntimeError("[enforce fail at inline_container.cc:672]\nunexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match=r"last\.pt cannot be written") as raised:
        write_checkpoint(checkpoint_of(state, make_config()), path)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named(state, make_config, tmp_path):
    """PyTorch's writer says only at which byte it was."""
    message = r"last\.pt cannot be written: File too large"
    with full_disk(100_000), pytest.raises(OSError, match=message):
        write_checkpoint(checkpoint_of(state, make_config()), tmp_path / "last.pt")
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_without_what_was_added_since(state, make_config, tmp_path):
    document = dict(vars(checkpoint_of(state, make_config())))
    del document["faces"]
    torch.save(document, tmp_path / "old.pt")
    assert read_checkpoint(tmp_path / "old.pt").faces == ""


def test_files_that_are_no_checkpoints(state, tmp_path):
    text, weights, empty = (tmp_path / name for name in ("a.pt", "b.pt", "c.pt"))
    text.write_text("no checkpoint")
    torch.save(state.generator.state_dict(), weights)
    empty.touch()
    for path in (text, weights, empty):
        with pytest.raises(ValueError, match="is not a checkpoint") as raised:
            read_checkpoint(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pt")


def test_a_checkpoint_of_an_earlier_version(state, make_config, tmp_path):
    document = vars(checkpoint_of(state, make_config()))
    del document["standing"], document["scalers"]
    torch.save(document, tmp_path / "old.pt")
    with pytest.raises(ValueError, match=r"no scalers, standing.*train\.initial\.g") as raised:
        read_checkpoint(tmp_path / "old.pt")
    assert "\n" not in str(raised.value)


def test_standing_counts_validations_that_do_not_rise_by_delta():
    standing = Standing()
    waited = []
    for psnr in (20.0, 20.005, 20.011, 19.0, 20.02, 20.03):
        standing = standing.after(psnr, Stage.JOINT, delta=0.01)
        waited.append(standing.waited)
    assert waited == [0, 1, 0, 1, 2, 0]
    assert (standing.best, standing.reference) == (20.03, 20.03)


def test_standing_begins_anew_with_a_stage():
    content = Standing().after(25.0, Stage.CONTENT, 0).after(24.0, Stage.CONTENT, 0)
    assert (content.best, content.waited) == (25, 1)
    joint = content.after(23.0, Stage.JOINT, 0)
    assert joint == Standing("joint", best=23.0, reference=23.0, waited=0)
