from collections.abc import Callable
from pathlib import Path

import pytest

import model
from model.checkpoints.table import ARCFACE_IR_SE50, BFR_512, DISCRIMINATOR_512, VGG16
from model.data.degradation import PUBLISHED
from model.networks import Architecture
from model.training.config import Config, TrainConfig
from model.training.config_file import (
    ConfigError,
    differences,
    flatten,
    load_config,
    override_config,
    save_config,
)
from model.training.doubts import doubts
from model.training.schedule import Plan, Stage
from tests.documents.pages import code

MINIMAL = "train: {num_epochs: 2}\n"
CONFIGS = Path(model.__file__).parent / "configs"


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


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_projects_own_configurations(path):
    config = load_config(path, [])
    assert Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "train: {num_epochs: 2, lr_gg: 1}",
            "train.lr_gg: there is no such key; did you mean lr",
        ),
        ("train: {num_epochs: 2, losses: {style: 1}}", "losses.style: there is no such key$"),
        ("trian: {num_epochs: 2}", "trian: there is no such key; did you mean train[?]"),
        ("train: {num_epochs: 2, early_stopping: {patient: 1}}", "did you mean patience[?]"),
        ("train: {num_epochs: 2}\ndata: {ranges: {gpen: {blurr: [1, 2]}}}", "did you mean blur[?]"),
        ("train: {}", "num_epochs, num_steps or num_images must say how long"),
        ("train: {num_epochs: 2, num_steps: 9}", "num_epochs and num_steps both say"),
        ("train: {num_epochs: 2, content: {steps: 1, images: 8}}", "steps and images both say"),
        ("train: {num_steps: 2, warmup_steps: 3}", "warmup_steps 3 is more than num_steps 2"),
        ("", "does not contain sections"),
        ("- train", "does not contain sections"),
        ("train: {num_epochs: 0}", "train.num_epochs: Input should be greater than 0"),
        ("train: {num_epochs: 2, lr_g: -1}", "train.lr_g"),
        ("train: {num_epochs: 2, lr_g: quick}", "train.lr_g: Input should be a valid number"),
        ("train: {num_epochs: 2, lr_policy: step}", "train.lr_policy: Input should be 'cosine'"),
        ("train: {num_epochs: 2, precision: fp8}", "train.precision"),
        ("train: {num_epochs: 2, beta2: 1}", "train.beta2: Input should be less than 1"),
        ("train: {num_epochs: 2, gp_lambda: -1}", "train.gp_lambda"),
        ("train: {num_epochs: 2, img_size: 100}", "train.img_size: .*power of two from 8 to 2048"),
        ("train: {num_epochs: 2, warmup_epochs: 3}", "warmup_epochs 3 is more than num_epochs 2"),
        ("train: {num_epochs: 2, lr_min: 1}", "lr_min 1 is more than lr_g 0.0002"),
        ("train: {num_epochs: 2, eta_min_d: 1}", "eta_min_d 1 is more than lr_d 0.0001"),
        ("train: {num_epochs: 2, content: {lr: 1e-5}}", "lr_min 0.0001 is more than lr 1e-05"),
        ("train: {num_epochs: 2, lr_g: .nan}", "train.lr_g: Input should be a finite number"),
        ("train: {num_epochs: 2, seed: -1}", "train.seed"),
        ("train: {num_epochs: 2, batch_size: 8, accumulation: 3}", "3 does not divide it"),
        ("train: {num_epochs: 2, early_stopping: {patience: 0}}", "early_stopping.patience"),
        ("train: {num_epochs: 2, early_stopping: {delta: -1}}", "early_stopping.delta"),
        ("train: {num_epochs: 2, losses: {lpips: 1}}", "lpips needs lpips_weights.*vgg16"),
        ("train: {num_epochs: 2, losses: {identity: 1}}", "identity needs .*model_ir_se50.pth"),
        ("train: {num_epochs: 2}\nnetwork: {narrow: 1.5}", "network.narrow"),
        ("train: {num_epochs: 2}\ndata: {recipes: {}}", "data.recipes"),
        ("train: {num_epochs: 2}\ndata: {recipes: {heavy: 1}}", "data.recipes.heavy"),
        ("train: {num_epochs: 2}\ndata: {recipes: {gpen: 0}}", "data.recipes.gpen"),
        ("train: {num_epochs: 2", "is not valid YAML"),
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


def test_ranges_as_the_page_changes_them(write):
    (block,) = code("docs/training.md", "Degradation", "yaml")
    data = load_config(write(MINIMAL + block.text), []).data
    assert data.recipes == {"gpen": 0.4, "realesrgan": 0.4, "light": 0.2}
    gpen, first = data.ranges.gpen, data.ranges.realesrgan.first
    assert (gpen.blur, gpen.jpeg, gpen.shrink) == ((0.1, 8), (40, 95), PUBLISHED.gpen.shrink)
    assert (first.gaussian, first.sigma) == ((1, 20), PUBLISHED.realesrgan.first.sigma)
    override = "data.ranges.gpen.blur=[0.1, 8]"
    assert load_config(write(MINIMAL), [override]).data.ranges.gpen.blur == (0.1, 8)


EXAMPLE = """
train:
  num_epochs: 130
  warmup_epochs: 15
  lr_g: 0.0002
  lr_d: 0.0001
  beta1: 0.9
  beta2: 0.99
  lr_policy: cosine
  lr_min: 1e-6
  batch_size: 8
  img_size: 512
  use_gradient_penalty: True
  gp_lambda: 10.0
"""


def test_the_published_example(write):
    train = load_config(write(EXAMPLE), []).train
    assert (train.num_epochs, train.warmup_epochs) == (130, 15)
    assert Plan.of(train, 8750) == Plan(0, 15 * 8750, 115 * 8750)  # of 70 000 faces
    assert (train.lr_g, train.lr_d, train.lr_min, train.eta_min_d) == (2e-4, 1e-4, 1e-6, 5e-7)
    assert (train.beta1, train.beta2, train.weight_decay) == (0.9, 0.99, 0)
    assert (train.batch_size, train.img_size, train.r1_weight) == (8, 512, 10)
    assert train.early_stopping is not None
    assert (train.early_stopping.patience, train.early_stopping.delta) == (8, 0.002)


@pytest.mark.parametrize(
    ("name", "epochs", "batch", "architecture"),
    [
        ("gpen_256", (80, 100), 16, Architecture(256, 1, 0.5)),
        ("gpen_512", (120, 150), 8, Architecture(512, 2, 1)),
        ("gpen_1024", (60, 80), 4, Architecture(1024, 2, 1)),
    ],
)
def test_a_configuration_for_each_resolution(name, epochs, batch, architecture):
    config = load_config(CONFIGS / f"{name}.yaml", [])
    assert epochs[0] <= config.train.num_epochs <= epochs[1]
    assert config.train.batch_size == batch
    assert config.architecture == architecture
    plan = Plan.of(config.train, 70_000 // batch)
    assert plan.content + plan.warmup < 0.2 * plan.total
    assert doubts(config.train, plan, batch) == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("gpen_*.yaml")), ids=lambda p: p.stem)
def test_recipes_of_the_published_networks_agree_on_lr_d(path):
    train = load_config(path, []).train
    assert (train.lr_d, train.eta_min_d) == (train.lr_g / 2, train.lr_min / 2)


def test_fine_tuning_begins_with_weights_of_the_table():
    """With its D, so that none of the stages that a network from scratch needs is left."""
    config = load_config(CONFIGS / "gpen_512_finetune.yaml", [])
    train, losses = config.train, config.train.losses
    assert (train.initial.g, train.initial.d) == (Path(BFR_512.name), Path(DISCRIMINATOR_512.name))
    assert (losses.lpips_weights, losses.identity_weights) == (
        Path(VGG16.name),
        Path(ARCFACE_IR_SE50.name),
    )
    assert losses.lpips > 0
    assert losses.identity > 0
    assert config.architecture == BFR_512.architecture
    plan = Plan.of(train, 100)
    assert plan.stage_at(0) is Stage.JOINT
    assert train.lr_g < load_config(CONFIGS / "gpen_512.yaml", []).train.lr_g
    assert doubts(train, plan, train.batch_size) == []


def test_a_batch_is_shared_evenly():
    train = TrainConfig(num_epochs=1, batch_size=16, accumulation=2)
    assert [train.micro_batch(processes) for processes in (1, 2, 4, 8)] == [8, 4, 2, 1]
    with pytest.raises(ValueError, match="16 cannot be shared by 3 processes with accumulation 2"):
        train.micro_batch(3)


def test_differences(write):
    one = load_config(write(MINIMAL), [])
    other = load_config(write(MINIMAL), ["train.lr_g=1e-4", "train.early_stopping=null"])
    assert differences(one, one) == {}
    assert differences(one, other) == {
        "train.lr_g": ("0.0002", "0.0001"),
        "train.early_stopping": ("-", "null"),
        "train.early_stopping.patience": ("8", "-"),
        "train.early_stopping.delta": ("0.002", "-"),
    }
    assert flatten(one)["network.narrow"] == "1.0"


def test_a_configuration_is_kept(write, tmp_path):
    config = load_config(write(EXAMPLE), ["data.recipes={light: 1}"]).with_data(Path("a: b"))
    save_config(config, tmp_path / "kept.yaml")
    assert load_config(tmp_path / "kept.yaml", []) == config


def test_overrides(write):
    overrides = [
        "train.lr_g=1e-4",
        "train.content.epochs=3",
        "train.compile=true",
        "data.recipes={light: 1}",
        "network.narrow=0.25",
        "train.initial.g=some where/g.pth",
    ]
    config = load_config(write("train: {num_epochs: 2, lr_g: 0.1}"), overrides)
    assert config.train.lr_g == 1e-4
    assert config.train.content.epochs == 3
    assert config.train.compile is True
    assert config.data.recipes == {"light": 1.0}
    assert config.architecture == Architecture(512, 2, 0.25)
    assert config.train.initial.g == Path("some where/g.pth")


def test_a_length_in_another_unit_replaces_the_configured_one(write):
    text = "train: {num_epochs: 2, warmup_epochs: 1, content: {epochs: 3}}"
    overrides = ["train.num_images=800", "train.warmup_steps=5", "train.content.steps=7"]
    for config in (
        load_config(write(text), overrides),
        override_config(load_config(write(text), []), overrides),
    ):
        assert Plan.of(config.train, 10) == Plan(7, 5, 95)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("train.lr_g", "section.key=value"),
        ("train.lr_gg=1", "train.lr_gg"),
        ("train.num_epochs.x=1", "num_epochs is not a section"),
        ("train.lr_g={", "is not valid YAML"),
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
