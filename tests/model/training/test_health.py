"""Each rule speaks where a run suffers from its trouble, and none where a run is well."""

from collections.abc import Sequence
from typing import Any

import pytest

from model.train import train
from model.training.config import TrainConfig
from model.training.health import RULES, Watch
from model.training.records import HealthRecord, Record, StepReport, TrainRecord, ValidationRecord
from model.training.schedule import Plan, Stage, learning_rates
from tests.model.training_runs import rows

CONFIG = TrainConfig(num_epochs=100, warmup_epochs=10)
PER_EPOCH = 100


def trained(step: int, stage: Stage = Stage.JOINT, **changes: Any) -> TrainRecord:
    """What a healthy run reports at a step."""
    lr_g, lr_d = learning_rates(step, Plan.of(CONFIG, PER_EPOCH), CONFIG)
    values = {
        "content": 0.12,
        "adversarial": 0.9 + 0.1 * (step % 300 == 0),
        "feature_matching": 0.05,
        "d": 1.15 + 0.05 * (step % 200 == 0),
        "d_real": 0.4,
        "d_fake": -0.5,
        "d_real_sign": 0.6,
        "gradient_penalty": 0.02 if step % 700 else 4.0,  # it has spikes
        "grad_norm_g": 2.0,
        "grad_norm_d": 1.5,
        "lr_g": lr_g,
        "lr_d": lr_d,
    }
    return TrainRecord.model_validate(
        StepReport.of(values | changes).model_dump()
        | {
            "step": step,
            "epoch": step / PER_EPOCH,
            "progress": step / (100 * PER_EPOCH),
            "stage": stage,
            "time": step,
            "steps": 50,
            "seconds_per_step": 0.3,
        }
    )


def validated(
    step: int, psnr: float, sharpness: float = 0.8, lpips: float | None = None
) -> ValidationRecord:
    return ValidationRecord(
        step=step, epoch=step / PER_EPOCH, stage=Stage.JOINT, time=step,
        psnr=psnr, ssim=0.7, sharpness=sharpness, lpips=lpips, best=False,
    )  # fmt: skip


def healthy() -> list[Record]:
    """100 epochs: PSNR rises and levels off; so does sharpness."""
    rows: list[Record] = []
    for step in range(50, 100 * PER_EPOCH + 1, 50):
        stage = Stage.WARMUP if step <= 10 * PER_EPOCH else Stage.JOINT
        winning: dict[str, Any] = {"d": 0.01, "d_real_sign": 1.0} if stage is Stage.WARMUP else {}
        rows.append(trained(step - 1, stage, **winning))
        if step % PER_EPOCH == 0 and stage is Stage.JOINT:
            done = step / (100 * PER_EPOCH)
            wobble = 0.01 * (step % 300 == 0)
            rows.append(validated(step, 24 + 3 * done * (2 - done) - wobble, 0.5 + 0.4 * done))
    return rows


def spoken(rows: Sequence[Record], config: TrainConfig = CONFIG) -> list[str]:
    watch = Watch.after(config, [])
    said = []
    for row in rows:
        assert isinstance(row, TrainRecord | ValidationRecord)
        said += watch.see(row)
    return [record.rule for record in said]


def test_nothing_is_said_of_a_healthy_run():
    assert spoken(healthy()) == []


def falling(start: float, end: float, count: int) -> list[float]:
    return [start + (end - start) * i / (count - 1) for i in range(count)]


def reporting(**columns: list[float]) -> list[Record]:
    """Joint rows, 50 steps apart, with these values."""
    count = len(next(iter(columns.values())))
    return [
        trained(
            5000 + 50 * i, **dict[str, Any]((name, values[i]) for name, values in columns.items())
        )
        for i in range(count)
    ]


def validating(psnr: list[float], sharpness: list[float], adversarial: list[float]) -> list[Record]:
    """A row and a validation an epoch."""
    return [
        row
        for i, (p, s, a) in enumerate(zip(psnr, sharpness, adversarial, strict=True))
        for row in (trained(5000 + 100 * i, adversarial=a), validated(5000 + 100 * i, p, s))
    ]


def ending(psnr: list[float], lr_g: float = 1e-6) -> list[Record]:
    """The last rows of a run, with G's rate at its floor."""
    validations = [validated(9700 + 100 * i, value) for i, value in enumerate(psnr)]
    return [trained(9600), *validations, *[trained(9990 + i, lr_g=lr_g) for i in range(3)]]


def warming_up(d: list[float]) -> list[Record]:
    """Rows of a warm-up that goes on for long."""
    return [
        trained(100 + 50 * i, Stage.WARMUP, d=loss).model_copy(update={"stage_left": 5000 - 50 * i})
        for i, loss in enumerate(d)
    ]


SUFFERING: dict[str, list[Record]] = {
    "vanishing_d_loss": reporting(d=[0.9, 0.2, 0.04, 0.01, 0.004]),
    "memorising_d": reporting(d_real_sign=[0.8, 0.95, 0.97, 0.99, 1.0, 1.0]),
    "exploding_penalty": reporting(gradient_penalty=[0.1, 150.0, 240.0, 310.0]),
    "artefacts": validating([24.0, 24.0, 24.0], [1.1, 2.4, 3.0], [0.9] * 3),
    "runaway_logits": reporting(d_real=[3.0, 80.0, 1700.0], d_fake=[-2.0, -60.0, -900.0]),
    "large_gradients": reporting(grad_norm_g=[4.0, 130.0, 260.0]),
    "loss_jump": reporting(adversarial=[0.9, 1.1, 480.0]),
    "fooled_d": validating([24.0, 23.7, 23.2], [0.8] * 3, [2.0, 1.2, 0.6]),
    "over_smoothing": validating([24.0, 24.2, 24.4], [0.8, 0.7, 0.6], [0.9] * 3),
    "learning_rate_at_its_floor": ending([24.0, 24.1, 24.2])[:-2],
    "idle_warm_up": warming_up([0.9, 0.08, 0.05, 0.03]),
    "blind_d": warming_up([1.386] * 11),
}


def test_every_rule_has_its_run():
    assert set(SUFFERING) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", SUFFERING)
def test_a_rule_speaks_of_its_trouble_and_of_no_other(rule):
    assert spoken(SUFFERING[rule]) == [rule]


@pytest.mark.parametrize("rule", SUFFERING)
def test_a_sentence_says_what_was_seen_and_what_to_change(rule):
    watch = Watch.after(CONFIG, SUFFERING[rule][:-1])
    sentences = [record.message for record in watch.see(SUFFERING[rule][-1])]  # type: ignore[arg-type]
    if not sentences:  # it was said a row before
        watch = Watch.after(CONFIG, SUFFERING[rule][:-2])
        sentences = [record.message for record in watch.see(SUFFERING[rule][-2])]  # type: ignore[arg-type]
    (sentence,) = sentences
    assert any(character.isdigit() for character in sentence)
    assert any(cure in sentence for cure in ("train.", "earlier checkpoint"))


def test_a_schedule_that_ends_where_psnr_has_levelled_off():
    assert spoken(ending([24.0, 24.001, 24.002])) == []


def test_a_learning_rate_near_its_floor_from_the_start():
    """At the first steps, where it rises, and where the configuration gives it no room to fall."""
    assert spoken([trained(30, lr_g=2e-7), validated(31, 24), validated(32, 25)]) == []
    flat = CONFIG.model_copy(update={"lr_g": 1e-3, "lr_min": 9e-4})
    assert spoken(ending([24.0, 24.1, 24.2], lr_g=9e-4), flat) == []


def test_what_signs_of_d_say_depends_on_the_loss_and_on_the_faces_seen():
    certain = reporting(d_real_sign=[1.0] * 6)
    assert spoken(certain) == ["memorising_d"]
    assert spoken(certain, CONFIG.model_copy(update={"discriminator": "projected"})) == []
    few = [row.model_copy(update={"steps": 1}) for row in certain]  # log_every: 1
    assert spoken(few) == []


@pytest.mark.parametrize(
    ("lpips", "said"), [([0.3, 0.32, 0.35], ["fooled_d"]), ([0.3, 0.2, 0.1], [])]
)
def test_psnr_that_falls_while_faces_get_better(lpips, said):
    """As when G has learnt alone before it meets D: what it then learns costs PSNR."""
    rows = [
        row
        for i, distance in enumerate(lpips)
        for row in (
            trained(5000 + 100 * i, adversarial=2.0 - 0.7 * i),
            validated(5000 + 100 * i, 24.0 - 0.3 * i, lpips=distance),
        )
    ]
    assert spoken(rows) == said


def test_a_spell_is_told_of_once_and_the_next_again():
    norms = [2.0, *[300.0] * 6, *[2.0] * 3, *[300.0] * 4]
    rows = reporting(grad_norm_d=norms)
    said = [i for i, row in enumerate(rows) if spoken(rows[: i + 1]) != spoken(rows[:i])]
    assert said == [2, 11]


def test_a_resumed_run_does_not_say_it_again():
    rows = reporting(grad_norm_d=[300.0] * 6)
    assert Watch.after(CONFIG, rows[:4]).see(rows[4]) == []  # type: ignore[arg-type]


def test_rows_of_another_stage_do_not_count():
    warm = [trained(900 + i, Stage.WARMUP, d=0.001, d_real_sign=1.0) for i in range(6)]
    joint = reporting(d=[0.001, 0.001], d_real_sign=[1.0, 1.0])
    assert spoken([*warm, *joint]) == []


SHORT = {
    **{"lr_g": 4e-3, "num_epochs": 4, "validate_every": 1},
    "losses": {"adversarial": 0.01},
}
"""Three joint epochs, in which PSNR rises to the last."""


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({}, set()),
        ({"lr_d": 1.0, "use_gradient_penalty": False}, {"runaway_logits"}),
        (SHORT | {"lr_min": 1e-5}, {"learning_rate_at_its_floor"}),
        (SHORT | {"lr_min": 3e-3}, set()),
    ],
)
def test_runs(make_config, face_folder, tmp_path, caplog, changes, rules):
    """Real ones: the project's own settings, a D without bounds, too short a schedule, and a rate
    that hardly falls.
    """
    lengths = {"content": {"epochs": 0}, "num_epochs": 6, "warmup_epochs": 1, "validate_every": 6}
    config = make_config(**lengths | changes).with_data(face_folder)
    train(config, tmp_path / "run")
    said = rows(tmp_path / "run", HealthRecord)
    assert rules <= {row.rule for row in said}
    assert bool(rules) == bool(said)
    assert all(row.message in caplog.text for row in said)
