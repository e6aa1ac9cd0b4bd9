import json

import cv2
import numpy as np
import pytest
import torch

from model.dataset import evaluation_pairs, find_faces
from model.evaluate import evaluate, main, read_pairs, restore_all, save_grid
from model.initialisation import start_as_identity
from model.metrics import score, to_levels
from model.networks import Architecture
from model.weights import WeightsMetadata, save_generator

ARCHITECTURE = Architecture(64, 1, 1 / 16)


@pytest.fixture
def identity(tmp_path):
    """Weights of a generator that returns its input."""
    generator = ARCHITECTURE.generator()
    start_as_identity(generator)
    metadata = WeightsMetadata(
        name="identity", architecture=ARCHITECTURE, template="gpen", licence="", training=""
    )
    save_generator(generator.state_dict(), metadata, tmp_path / "identity.safetensors")
    return tmp_path / "identity.safetensors"


@pytest.fixture
def low_folder(faces, tmp_path):
    """The degraded halves, under the same names."""
    folder = tmp_path / "low"
    folder.mkdir()
    for i, low in enumerate(to_levels(evaluation_pairs(faces)[0])):
        cv2.imwrite(str(folder / f"{i}.png"), low.permute(1, 2, 0).byte().numpy()[..., ::-1])
    return folder


def test_faces_are_degraded_on_the_fly(identity, faces, face_folder):
    results = evaluate(identity, face_folder, None, None, None)
    expected = score(*evaluation_pairs(faces))
    assert results["degraded"] == expected
    assert results["restored"].psnr == pytest.approx(expected.psnr, abs=0.05)  # in half precision


def test_given_pairs_give_the_same(identity, face_folder, low_folder):
    on_the_fly = evaluate(identity, face_folder, None, None, None)
    assert evaluate(identity, face_folder, low_folder, None, None) == on_the_fly


def test_pairs_are_made_by_name(faces, face_folder, low_folder):
    nested = low_folder / "nested", face_folder / "nested"
    for folder in nested:
        folder.mkdir()
        (folder.parent / "0.png").rename(folder / "0.png")
    (low_folder / "3.png").unlink()
    one = cv2.imread(str(low_folder / "1.png"))
    assert one is not None
    cv2.imwrite(str(low_folder / "1.bmp"), one)
    (low_folder / "1.png").unlink()
    paths = [path for path in find_faces(face_folder) if path.name != "3.png"]
    low, high = read_pairs(low_folder, face_folder, paths, 64)
    assert low.shape == high.shape == (5, 3, 64, 64)
    order = [1, 2, 4, 5, 0]
    for half, expected in zip((low, high), evaluation_pairs(faces), strict=True):
        assert torch.equal(to_levels(half), to_levels(expected[order]))
    with pytest.raises(FileNotFoundError, match=r"3\.png has no counterpart"):
        read_pairs(low_folder, face_folder, find_faces(face_folder), 64)


def test_an_unusable_half_is_an_error_and_not_a_shift(identity, face_folder, low_folder):
    (low_folder / "2.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"2\.png cannot be read"):
        evaluate(identity, face_folder, low_folder, None, None)


def test_holdout_restricts(identity, faces, face_folder):
    holdout = face_folder / "holdout.txt"
    holdout.write_text("1.png\n4.png\n")
    results = evaluate(identity, face_folder, None, holdout, None)
    assert results["degraded"] == score(*evaluation_pairs(faces[[1, 4]]))


def test_restored_in_batches_and_clamped():
    seen = []

    def generate(x):
        seen.append(len(x))
        return 2 * x

    low = torch.rand(5, 3, 8, 8) * 2 - 1
    assert torch.equal(restore_all(generate, low, 2), (2 * low).clamp(-1, 1))
    assert seen == [2, 2, 1]


def test_grid(tmp_path):
    columns = [torch.full((2, 3, 8, 8), value) for value in (-1.0, 0.0, 1.0)]
    columns[0][1, 0] = 1  # the second row begins with red
    save_grid(tmp_path / "grid.png", *columns)
    grid = cv2.imread(str(tmp_path / "grid.png"), cv2.IMREAD_COLOR_RGB)
    assert grid is not None
    assert grid.shape == (16, 24, 3)
    assert [int(grid[4, x, 0]) for x in (4, 12, 20)] == [0, 128, 255]
    assert grid[12, 4].tolist() == [255, 0, 0]
    with pytest.raises(OSError, match="cannot be written"):
        save_grid(tmp_path / "none" / "grid.png", *columns)


def test_command(identity, face_folder, tmp_path, capsys):
    report, grid = tmp_path / "scores.json", tmp_path / "grid.png"
    main(
        [
            *("--weights", str(identity), "--hq", str(face_folder)),
            *("--json", str(report), "--grid", str(grid)),
        ]
    )
    scores = json.loads(report.read_text())
    assert set(scores) == {"degraded", "restored"}
    assert set(scores["restored"]) == {"psnr", "ssim", "sharpness"}
    printed = capsys.readouterr().out
    assert f"PSNR  {scores['restored']['psnr']:.2f} dB" in printed
    picture = cv2.imread(str(grid))
    assert picture is not None
    assert picture.shape == (6 * 64, 3 * 64, 3)
    assert np.ptp(picture) > 100


@pytest.mark.parametrize("missing", ["weights", "hq", "lq"])
def test_command_says_what_is_missing(identity, face_folder, tmp_path, missing):
    options = {"weights": identity, "hq": face_folder, "lq": face_folder}
    options[missing] = tmp_path / "none"
    with pytest.raises(SystemExit, match=r"^error: .*none"):
        main([part for name, path in options.items() for part in (f"--{name}", str(path))])
