"""What a resumed run keeps of its configuration, and what may be changed."""

from pathlib import Path

import pytest

from model.training.config import Config
from model.training.config_file import ConfigError
from model.training.resume import configuration_of, refuse_other_run
from model.training.state import TrainingCheckpoint, write_checkpoint


def checkpoint_of(config: Config) -> TrainingCheckpoint:
    """One whose configuration alone matters."""
    return TrainingCheckpoint(
        g={}, d={}, g_ema={}, g_optim={}, d_optim={}, scalers=[], path_length=0, step=3,
        per_epoch=2, standing={}, rng=[], config=config.model_dump(mode="json"), faces="these",
    )  # fmt: skip


def test_a_run_goes_on_with_its_own_configuration(make_config, tmp_path):
    config = make_config(seed=4, lr_g=3e-4).with_data(Path("faces"))
    write_checkpoint(checkpoint_of(config), tmp_path / "last.pt")
    assert configuration_of(tmp_path / "last.pt", [], None) == config
    changed = configuration_of(tmp_path / "last.pt", ["train.lr_d=5e-5"], Path("moved"))
    assert (changed.train.lr_g, changed.train.lr_d) == (3e-4, 5e-5)
    assert changed.data.folder == Path("moved")
    with pytest.raises(ConfigError, match=r"did you mean .*lr_d"):
        configuration_of(tmp_path / "last.pt", ["train.lr_e=5e-5"], None)


def test_what_may_be_changed(make_config):
    config = make_config(lr_g=1e-4, num_epochs=9).with_data(Path("moved"))
    changed = refuse_other_run(
        checkpoint_of(make_config().with_data(Path("faces"))), config, "these", 2
    )
    assert changed == {
        "train.num_epochs": ("3.0", "9.0"),
        "train.lr_g": ("0.0002", "0.0001"),
        "data.folder": ("faces", "moved"),
    }


@pytest.mark.parametrize(
    ("changes", "faces", "per_epoch", "reason"),
    [
        (
            {"batch_size": 6},
            "these",
            2,
            "train.batch_size was 3 and is now 6, but .*order of the faces",
        ),
        ({"seed": 1}, "these", 2, "train.seed was 0 and is now 1"),
        ({"img_size": 128}, "these", 2, "train.img_size was 64 and is now 128, but the networks"),
        ({"discriminator": "projected"}, "these", 2, "train.discriminator was stylegan2"),
        ({}, "others", 2, "the faces or the holdout are not the same, data.folder was a and is b"),
        ({}, "these", 3, "an epoch had 2 steps and now has 3"),
    ],
)
def test_what_would_be_another_run(make_config, changes, faces, per_epoch, reason):
    before = checkpoint_of(make_config().with_data(Path("a")))
    with pytest.raises(ValueError, match=f"{reason}.*train.initial.g") as raised:
        refuse_other_run(before, make_config(**changes).with_data(Path("b")), faces, per_epoch)
    assert "\n" not in str(raised.value)
