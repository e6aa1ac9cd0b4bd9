import numpy as np
import pytest

from model.evaluation.metrics import Appearance, Scores
from model.evaluation.report import Evaluation, group_of, table


def scores(psnr: float) -> Scores:
    return Scores(psnr=psnr, ssim=0.5, sharpness=psnr / 100, perceptual=0.25)


@pytest.fixture
def evaluation() -> Evaluation:
    """Two studio faces and a candid one."""
    made = Evaluation(["studio/a.png", "candid/b.png", "studio/sub/c.png"])
    made.scores["degraded"] += [scores(20), scores(21), scores(22)]
    made.scores["restored"] += [scores(24), scores(27), scores(30)]
    for appearances in made.appearances.values():
        appearances.extend([Appearance(niqe=5.0)] * 3)
    return made


def test_groups_are_the_first_folders(evaluation):
    assert group_of("studio/sub/c.png") == "studio"
    assert group_of("c.png") == "."
    groups = evaluation.groups()
    assert {name: group.names for name, group in groups.items()} == {
        "studio": ["studio/a.png", "studio/sub/c.png"],
        "candid": ["candid/b.png"],
    }
    summary = groups["studio"].summaries()["restored"]
    assert summary["psnr"] == 27
    assert summary["sharpness"] == 0.24  # the lower median
    assert Evaluation(["a.png", "b.png"]).groups() == {}


def test_json_holds_the_groups_beside_the_whole(evaluation):
    document = evaluation.as_json()
    assert document["degraded"]["psnr"] == 21
    assert document["groups"]["candid"]["restored"]["psnr"] == 27
    assert (
        "groups" not in Evaluation(["a.png"], evaluation.scores, evaluation.appearances).as_json()
    )


def test_a_table_for_each_group_and_one_for_all(evaluation):
    text = table(evaluation)
    for heading in ("studio, 2 faces", "candid, 1 faces", "all 3 faces"):
        assert heading in text
    assert text.count("PSNR") == 6
    assert "dlib_distance, same_person (pip install 'gpen-portrait[evaluate]')" in text
    assert "gpen-portrait[train]" not in text  # perceptual was measured
    assert "--lpips-weights, --identity-weights, --fid-weights" in text


def test_the_picture_shows_each_group():
    evaluation = Evaluation()
    for group, level in (("a", 10), ("b", 200)):
        names = [f"{group}/{i}.png" for i in range(20)]
        for start in range(0, 20, 5):
            grid = np.full((5 * 4, 12, 3), level, np.uint8)
            evaluation.add_rows(names[start : start + 5], grid)
    picture = evaluation.picture()
    assert picture.shape == (16 * 4, 12, 3)
    assert (picture[:32] == 10).all()
    assert (picture[32:] == 200).all()
