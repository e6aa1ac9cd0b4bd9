from collections.abc import Callable
from pathlib import Path

import pytest

import model
from model.config import Config, ConfigError, TrainConfig, load_config
from model.networks import Architecture

MINIMAL = "train: {num_epochs: 2}\n"


Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def test_defaults(write):
    config = load_config(write(MINIMAL), [])
    assert config.train.img_size == 512
    assert config.architecture == Architecture(512, 2, 1.0)
    assert config.data.recipes == {"gpen": 1.0}
    assert config.data.folder is None


@pytest.mark.parametrize(
    "path", sorted((Path(model.__file__).parent / "configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_projects_own_configurations(path):
    config = load_config(path, [])
    assert Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train: {num_epochs: 2, lr_gg: 1}", "train.lr_gg: Extra inputs"),
        ("train: {num_epochs: 2, losses: {style: 1}}", "train.losses.style: Extra inputs"),
        ("trian: {num_epochs: 2}", "trian: Extra inputs"),
        ("train: {}", "train.num_epochs: Field required"),
        ("", "holds no sections"),
        ("- train", "holds no sections"),
        ("train: {num_epochs: 0}", "train.num_epochs: Input should be greater than 0"),
        ("train: {num_epochs: 2, lr_g: -1}", "train.lr_g"),
        ("train: {num_epochs: 2, lr_g: quick}", "train.lr_g: Input should be a valid number"),
        ("train: {num_epochs: 2, lr_policy: step}", "train.lr_policy: Input should be 'cosine'"),
        ("train: {num_epochs: 2, precision: fp8}", "train.precision"),
        ("train: {num_epochs: 2, beta2: 1}", "train.beta2: Input should be less than 1"),
        ("train: {num_epochs: 2, gp_lambda: -1}", "train.gp_lambda"),
        ("train: {num_epochs: 2, img_size: 100}", "train.img_size: .*power of two from 8 to 2048"),
        ("train: {num_epochs: 2, warmup_epochs: 3}", "warmup_epochs 3 is more than num_epochs 2"),
        ("train: {num_epochs: 2}\nnetwork: {narrow: 1.5}", "network.narrow"),
        ("train: {num_epochs: 2}\ndata: {recipes: {}}", "data.recipes"),
        ("train: {num_epochs: 2}\ndata: {recipes: {heavy: 1}}", "data.recipes.heavy"),
        ("train: {num_epochs: 2}\ndata: {recipes: {gpen: 0}}", "data.recipes.gpen"),
        ("train: {num_epochs: 2", "is no YAML"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(write, text, complaint):
    with pytest.raises(ConfigError, match=complaint) as raised:
        load_config(write(text), [])
    assert "\n" not in str(raised.value)


def test_exponents_that_yaml_takes_for_text(write):
    """YAML 1.1 wants a dot: 1e-6 is a string to it, and a number to anyone else."""
    config = load_config(write("train: {num_epochs: 2, lr_min: 1e-6, gp_lambda: 1e1}"), [])
    assert config.train.lr_min == 1e-6
    assert config.train.gp_lambda == 10


def test_overrides(write):
    overrides = [
        "train.lr_g=1e-4",
        "train.content.epochs=3",
        "train.compile=true",
        "data.recipes={light: 1}",
        "network.narrow=0.25",
    ]
    config = load_config(write("train: {num_epochs: 2, lr_g: 0.1}"), overrides)
    assert config.train.lr_g == 1e-4
    assert config.train.content.epochs == 3
    assert config.train.compile is True
    assert config.data.recipes == {"light": 1.0}
    assert config.architecture == Architecture(512, 2, 0.25)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("train.lr_g", "section.key=value"),
        ("train.lr_gg=1", "train.lr_gg"),
        ("train.num_epochs.x=1", "num_epochs is no section"),
        ("train.lr_g={", "is no YAML"),
    ],
)
def test_overrides_that_are_none(write, override, complaint):
    with pytest.raises(ConfigError, match=complaint) as raised:
        load_config(write(MINIMAL), [override])
    assert "\n" not in str(raised.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "none.yaml", [])


def test_data_folder_is_taken_as_it_is(write):
    config = load_config(write(MINIMAL), []).with_data(Path("2024: faces #1"))
    assert config.data.folder == Path("2024: faces #1")
    assert config.train.num_epochs == 2


def test_r1_weight():
    automatic = TrainConfig(num_epochs=1, img_size=256, batch_size=8)
    assert automatic.r1_weight == pytest.approx(0.0002 * 256 * 256 / 8)
    assert TrainConfig(num_epochs=1, gp_lambda=2.5).r1_weight == 2.5
    assert TrainConfig(num_epochs=1, gp_lambda=0).r1_weight == 0
