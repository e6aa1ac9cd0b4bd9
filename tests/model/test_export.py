from pathlib import Path

import pytest
import torch

from model.checkpoints.generator import WeightsMetadata, load_generator, save_generator
from model.export import main, summary
from model.networks import Architecture, FullGenerator
from model.training.config import Config, ValidationConfig
from model.training.state import Standing, TrainingState, read_checkpoint, write_checkpoint


@pytest.fixture
def state(make_config) -> TrainingState:
    """One whose average differs from its generator."""
    state = TrainingState.fresh(make_config())
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in state.ema.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    state.step, state.standing = 1234, Standing("content", best=21.348)
    return state


def save(state: TrainingState, config: Config, path: Path) -> None:
    write_checkpoint(state.checkpoint(config, 2, []), path)


@pytest.fixture
def checkpoint(state, make_config, tmp_path):
    save(state, make_config(), tmp_path / "last.pt")
    return tmp_path / "last.pt"


def export(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def test_what_is_served_is_the_average(state, checkpoint, tmp_path):
    output = tmp_path / "mine.safetensors"
    export("--checkpoint", checkpoint, "--output", output)
    served, _ = load_generator(output)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected, restored, latest = state.ema(x), served(x), state.generator(x)
    error = (restored - expected).abs().max()
    assert error < 4 / 255
    assert error < 0.05 * (restored - latest).abs().max()


def test_metadata_by_default(checkpoint, tmp_path, capsys):
    output = tmp_path / "mine.safetensors"
    export("--checkpoint", checkpoint, "--output", output)
    _, metadata = load_generator(output)
    assert metadata is not None
    assert metadata.name == "mine"
    assert metadata.architecture == Architecture(64, 1, 1 / 16)
    assert metadata.template == "gpen"
    assert metadata.licence == "unspecified"
    for fact in ("64 px", "1234 steps of 3 faces", "scratch", "4 content", "gpen 1", "21.35 dB"):
        assert fact in metadata.training
    assert "mine" in capsys.readouterr().out


def test_the_best_score_is_of_the_metric_that_decided(state, make_config, tmp_path):
    config = make_config().model_copy(update={"validation": ValidationConfig(metric="niqe")})
    state.standing = Standing("joint", best=-5.125)  # of NIQE, less is better
    save(state, config, tmp_path / "last.pt")
    assert "best validation niqe 5.125 (joint stage)" in summary(
        read_checkpoint(tmp_path / "last.pt")
    )


def test_folders_are_not_published(state, make_config, tmp_path):
    initial = {"g": tmp_path / "secret" / "prior.pth"}
    config = make_config(initial=initial).with_data(tmp_path / "secret")
    save(state, config, tmp_path / "last.pt")
    output = tmp_path / "mine.safetensors"
    export("--checkpoint", tmp_path / "last.pt", "--output", output)
    assert b"secret" not in output.read_bytes()
    assert b"from prior.pth" in output.read_bytes()


def test_metadata_as_given(checkpoint, tmp_path):
    output = tmp_path / "mine.safetensors"
    given = ["--name", "gpen-mine-64", "--licence", "CC0-1.0", "--training", "by hand"]
    export("--checkpoint", checkpoint, "--output", output, *given)
    _, metadata = load_generator(output)
    assert metadata is not None
    assert (metadata.name, metadata.licence, metadata.training) == tuple(given[1::2])


def refuse(*arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        export(*arguments)
    message = stopped.value.code
    assert isinstance(message, str)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def test_files_that_are_no_checkpoints(state, tmp_path):
    output = tmp_path / "mine.safetensors"
    text, weights = tmp_path / "text.pt", tmp_path / "weights.pth"
    text.write_text("no checkpoint")
    torch.save({"g_ema": state.ema.state_dict()}, weights)
    for path in (text, weights):
        assert "is not a checkpoint" in refuse("--checkpoint", path, "--output", output)
    missing = tmp_path / "none.pt"
    assert str(missing) in refuse("--checkpoint", missing, "--output", output)
    assert not output.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_weights_without_a_place_in_half_precision(state, make_config, tmp_path, value):
    with torch.no_grad():
        state.ema.get_parameter("generator.to_rgb1.bias").fill_(value)
    save(state, make_config(), tmp_path / "last.pt")
    output = tmp_path / "mine.safetensors"
    message = refuse("--checkpoint", tmp_path / "last.pt", "--output", output)
    assert "generator.to_rgb1.bias" in message
    assert not output.exists()


def test_outputs_that_cannot_be(checkpoint, tmp_path):
    assert ".safetensors" in refuse("--checkpoint", checkpoint, "--output", tmp_path / "mine.pth")
    nowhere = tmp_path / "none" / "mine.safetensors"
    assert str(nowhere) in refuse("--checkpoint", checkpoint, "--output", nowhere)


def test_the_checkpoint_is_left_alone(checkpoint, tmp_path):
    before = checkpoint.read_bytes()
    export("--checkpoint", checkpoint, "--output", tmp_path / "mine.safetensors")
    assert checkpoint.read_bytes() == before
    assert read_checkpoint(checkpoint).step == 1234


def test_onnx_of_weights_with_and_without_metadata(state, tmp_path, monkeypatch, capsys):
    """What the weights say of themselves is kept, unless something else is given."""
    written: list[WeightsMetadata] = []

    def note(generator: FullGenerator, metadata: WeightsMetadata, path: Path) -> float:
        assert generator.size == 64
        written.append(metadata)
        return 0.125

    monkeypatch.setattr("model.export.save_onnx", note)
    theirs, ours, output = tmp_path / "GPEN.pth", tmp_path / "a.safetensors", tmp_path / "b.onnx"
    torch.save(state.ema.state_dict(), theirs)
    architecture = Architecture(64, 1, 1 / 16)
    stated = WeightsMetadata(
        name="a", architecture=architecture, template="ffhq", licence="MIT", training="long"
    )
    save_generator(state.ema.state_dict(), stated, ours)
    export("--weights", theirs, "--output", output)
    export("--weights", ours, "--output", output)
    export("--weights", ours, "--output", output, "--licence", "CC0-1.0")
    assert written == [
        WeightsMetadata(
            name="b",
            architecture=architecture,
            template="gpen",
            licence="unknown",
            training="unknown",
        ),
        stated,
        stated.model_copy(update={"licence": "CC0-1.0"}),
    ]
    assert "at most 0.12 levels of 255 from PyTorch" in capsys.readouterr().out


def test_onnx_that_cannot_be(checkpoint, tmp_path):
    assert ".onnx" in refuse("--weights", checkpoint, "--output", tmp_path / "mine.safetensors")
    missing = tmp_path / "none.pth"
    assert str(missing) in refuse("--weights", missing, "--output", tmp_path / "mine.onnx")
