import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from model.checkpoints.generator import WeightsMetadata, save_generator
from model.data.dataset import evaluation_pairs, to_halves
from model.data.pictures import find_faces, read_faces
from model.evaluate import (
    Measures,
    Pair,
    degraded_pairs,
    evaluate,
    given_pairs,
    main,
    resize,
    restore_all,
)
from model.evaluation.grid import make_grid, save_picture
from model.evaluation.metrics import Scores, score, score_each
from model.evaluation.report import Evaluation, table
from model.levels import to_levels
from model.networks import Architecture
from model.networks.initialisation import start_as_identity

CPU = torch.device("cpu")


def identity_of(size: int, path):
    """Weights of a generator that returns its input."""
    # six channels at full resolution
    architecture = Architecture(size, 1, {256: 1 / 8, 512: 1 / 4, 1024: 1 / 2}.get(size, 1 / 16))
    generator = architecture.generator()
    start_as_identity(generator)
    metadata = WeightsMetadata(
        name="identity", architecture=architecture, template="gpen", licence="", training=""
    )
    save_generator(generator.state_dict(), metadata, path)
    return path


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    return identity_of(64, tmp_path_factory.mktemp("weights") / "identity.safetensors")


@pytest.fixture
def pairs(face_folder):
    """LQ and HQ as they are to be: at 256 px, face i degraded with seed i."""
    return to_halves(evaluation_pairs(read_faces(find_faces(face_folder), 256)))


@pytest.fixture
def low_folder(pairs, tmp_path):
    """The degraded halves, under the same names."""
    folder = tmp_path / "low"
    folder.mkdir()
    for i, low in enumerate(to_levels(pairs[0])):
        cv2.imwrite(str(folder / f"{i}.png"), low.permute(1, 2, 0).byte().numpy()[..., ::-1])
    return folder


def run(identity: Path, pairs: Iterator[Pair], measures: Measures | None = None) -> Evaluation:
    return evaluate(identity, pairs, measures or Measures(), CPU)


def test_the_evaluation_is_one_whatever_the_networks_size(identity, pairs, face_folder):
    """Degraded scores are at 256 px; what a 64 px network sees is a quarter of that."""
    evaluation = run(identity, degraded_pairs(face_folder, find_faces(face_folder)))
    low, high = pairs
    for degraded, expected in zip(
        evaluation.scores["degraded"], score_each(low, high), strict=True
    ):
        assert degraded.psnr == pytest.approx(expected.psnr)
        assert degraded.ssim == pytest.approx(expected.ssim)
    seen = resize(resize(low, 64), 256)
    expected_mean, restored = score(seen, high), evaluation.summaries()["restored"]
    assert restored["psnr"] == pytest.approx(expected_mean.psnr, abs=0.05)  # in half precision
    assert evaluation.names == [f"{i}.png" for i in range(6)]


def test_at_256_px_nothing_is_resized(pairs, face_folder, tmp_path):
    whole = identity_of(256, tmp_path / "whole.safetensors")
    paths = find_faces(face_folder)[:2]
    evaluation = run(whole, degraded_pairs(face_folder, paths))
    before, after = (fmean(s.psnr for s in scores) for scores in evaluation.scores.values())
    assert after == pytest.approx(before, abs=0.05)


@pytest.mark.parametrize("size", [512, pytest.param(1024, marks=pytest.mark.long)])
def test_networks_are_evaluated_at_their_own_size(face_folder, tmp_path, size):
    """Two faces, restored one or two at a time by a network of that size, and not resized."""
    weights = identity_of(size, tmp_path / "large.safetensors")
    paths = find_faces(face_folder)[:2]
    pairs = list(degraded_pairs(face_folder, paths, size=size))
    assert all(pair.low.shape == (3, size, size) for pair in pairs)
    evaluation = run(weights, iter(pairs))
    before, after = (fmean(s.psnr for s in scores) for scores in evaluation.scores.values())
    assert after == pytest.approx(before, abs=0.05)


def test_resizing():
    x = resize(torch.rand(1, 3, 16, 16) * 2 - 1, 64)  # smooth
    assert resize(x, 64) is x
    torch.testing.assert_close(resize(x, 32), nn.functional.avg_pool2d(x, 2))
    larger = resize(x, 128)
    assert larger.abs().max() <= 1
    assert (resize(larger, 64) - x).abs().mean() < 0.03


def test_given_pairs_give_the_same(identity, face_folder, low_folder):
    paths = find_faces(face_folder)
    on_the_fly = run(identity, degraded_pairs(face_folder, paths))
    given = run(identity, given_pairs(low_folder, face_folder, paths))
    assert given.scores == on_the_fly.scores


def test_pairs_are_made_by_name(pairs, face_folder, low_folder):
    for folder in (low_folder / "nested", face_folder / "nested"):
        folder.mkdir()
        (folder.parent / "0.png").rename(folder / "0.png")
    (low_folder / "3.png").unlink()
    one = cv2.imread(str(low_folder / "1.png"))
    assert one is not None
    cv2.imwrite(str(low_folder / "1.bmp"), one)
    (low_folder / "1.png").unlink()
    paths = [path for path in find_faces(face_folder) if path.name != "3.png"]
    made = list(given_pairs(low_folder, face_folder, paths))
    order = [1, 2, 4, 5, 0]
    for half, expected in zip(("low", "high"), pairs, strict=True):
        stacked = torch.stack([getattr(pair, half) for pair in made])
        assert torch.equal(to_levels(stacked), to_levels(expected[order]))
    with pytest.raises(FileNotFoundError, match=r"3\.png has no counterpart"):
        next(given_pairs(low_folder, face_folder, find_faces(face_folder)))


def test_an_unusable_half_is_an_error_and_not_a_shift(identity, face_folder, low_folder):
    (low_folder / "2.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"2\.png cannot be read"):
        run(identity, given_pairs(low_folder, face_folder, find_faces(face_folder)))


def test_a_broken_network_is_an_error(identity, face_folder, monkeypatch):
    monkeypatch.setattr("model.evaluate.restore_all", lambda _, low, *rest: low * torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        run(identity, degraded_pairs(face_folder, find_faces(face_folder)))


def test_an_unusable_face_is_left_out(face_folder, pairs, caplog):
    (face_folder / "5.png").write_text("no picture")
    made = list(degraded_pairs(face_folder, find_faces(face_folder)))
    assert [pair.name for pair in made] == [f"{i}.png" for i in range(5)]
    assert torch.equal(made[4].low, pairs[0][4])
    assert "5.png" in caplog.text


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
    save_picture(tmp_path / "grid.png", make_grid(*columns))
    grid = cv2.imread(str(tmp_path / "grid.png"), cv2.IMREAD_COLOR_RGB)
    assert grid is not None
    assert grid.shape == (16, 24, 3)
    assert [int(grid[4, x, 0]) for x in (4, 12, 20)] == [0, 128, 255]
    assert grid[12, 4].tolist() == [255, 0, 0]
    with pytest.raises(OSError, match="cannot be written"):
        save_picture(tmp_path / "none" / "grid.png", make_grid(*columns))


def test_what_is_measured_besides(identity, pairs, face_folder):
    """Where weights are there, further scores stand beside the others."""

    class Colours(nn.Module):
        """Takes Inception's place."""

        num_features = 3

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.float().mean(dim=(2, 3))

    fid = {
        name: FrechetInceptionDistance(feature=Colours(), input_img_size=(3, 256, 256))
        for name in ("degraded", "restored")
    }
    measures = Measures(
        {"lpips": lambda a, b: (a - b).abs().mean(dim=(1, 2, 3))},
        fid,
        {"niqe": lambda x: x.mean(dim=(1, 2, 3))},
    )
    paths = find_faces(face_folder)
    evaluation = run(identity, degraded_pairs(face_folder, paths), measures)
    summary = evaluation.summaries()["restored"]
    assert set(summary) == {"psnr", "ssim", "sharpness", "lpips", "niqe", "fid"}
    assert 0 < summary["lpips"] < 1
    assert evaluation.summaries()["original"] == {
        "niqe": pytest.approx(pairs[1].mean().item(), abs=1e-5)
    }
    assert "identity" in table(evaluation)
    assert "--lpips-weights" not in table(evaluation)


def test_command(identity, face_folder, tmp_path, capsys):
    outputs = {name: tmp_path / name for name in ("json", "csv", "grid.png")}
    (face_folder / "holdout.txt").write_text("1.png\n4.png\n")
    main(
        [
            *("--weights", str(identity), "--hq", str(face_folder), "--device", "cpu"),
            *("--holdout", str(face_folder / "holdout.txt")),
            *("--json", str(outputs["json"]), "--csv", str(outputs["csv"])),
            *("--grid", str(outputs["grid.png"])),
        ]
    )
    scores = json.loads(outputs["json"].read_text())
    assert list(scores) == ["degraded", "restored", "original"]
    assert set(scores["original"]) == {"niqe", "found"}
    for when in ("degraded", "restored"):
        always = {"psnr", "ssim", "sharpness", "landmarks", "niqe", "found"}
        assert set(scores[when]) == always | {"perceptual", "dlib_distance", "same_person"}
    assert scores["original"]["found"] == 1
    assert 0 < scores["restored"]["landmarks"] < 0.5
    printed = capsys.readouterr().out
    assert f"PSNR  {scores['restored']['psnr']:.2f} dB" in printed
    assert f"original   niqe {scores['original']['niqe']:.4g}  found 1" in printed
    assert "not measured" in printed
    assert all(f"--{name}-weights" in printed for name in ("lpips", "identity", "fid"))
    with outputs["csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["face"] for row in rows] == ["1.png", "4.png"]
    mean = fmean(float(row["restored_psnr"]) for row in rows)
    assert mean == pytest.approx(scores["restored"]["psnr"])
    mean = fmean(float(row["original_niqe"]) for row in rows)
    assert mean == pytest.approx(scores["original"]["niqe"])
    picture = cv2.imread(str(outputs["grid.png"]))
    assert picture is not None
    assert picture.shape == (2 * 256, 3 * 256, 3)
    assert np.ptp(picture) > 100


@pytest.mark.parametrize("missing", ["weights", "hq", "lq", "lpips-weights", "fid-weights"])
def test_command_says_what_is_missing(identity, face_folder, tmp_path, missing):
    options = {"weights": identity, "hq": face_folder, "lq": face_folder}
    options[missing] = tmp_path / "none"
    with pytest.raises(SystemExit, match=r"^error: .*none"):
        main([part for name, path in options.items() for part in (f"--{name}", str(path))])


def test_summaries_leave_out_what_was_not_measured():
    assert Scores(1.0, 2.0, 3.0, identity=0.5).as_dict() == {
        "psnr": 1.0, "ssim": 2.0, "sharpness": 3.0, "identity": 0.5,
    }  # fmt: skip


@pytest.mark.long
def test_command_starts_by_itself():
    """Torchvision, which torchmetrics imports, does not on every machine (torchvision_compat)."""
    command = [sys.executable, "-m", "model.evaluate", "--help"]
    result = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
