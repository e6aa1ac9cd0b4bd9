import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.data.degradation import RECIPES, degrade
from model.data.degradation.operations import to_8_bit, to_float
from model.data.pictures import find_faces, find_pairs, read_face
from model.degrade import main, make_pairs
from model.evaluate import given_pairs

REPOSITORY = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")
    }


@pytest.mark.parametrize("recipe", ["gpen", "realesrgan", "bsrgan"])
def test_pairs_are_written(face_folder, faces, tmp_path, recipe, capsys):
    output = tmp_path / "deep" / "pairs"
    main(["--hq", str(face_folder), "--output", str(output), "--recipe", recipe, "--seed", "7"])
    pairs = find_pairs(output).pairs
    assert [low.name for low, _ in pairs] == [f"{i}.png" for i in range(6)]
    for index, (low, high) in enumerate(pairs):
        assert np.array_equal(read_face(high), faces[index])
        rng = np.random.default_rng([7, index])
        expected = degrade(to_float(faces[index]), RECIPES[recipe], rng)
        assert np.array_equal(read_face(low), to_8_bit(expected))
    assert capsys.readouterr() == ("", "")


def test_a_seed_gives_the_same_files(face_folder, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_pairs(face_folder, tmp_path / name, RECIPES["realesrgan"], seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert len(a) == 12
    differing = {name for name in a if a[name] != c[name]}
    assert differing == {f"lq/{i}.png" for i in range(6)}


def test_pictures_can_be_resized(face_folder, tmp_path):
    main(["--hq", str(face_folder), "--output", str(tmp_path / "pairs"), "--size", "48"])
    for pair in find_pairs(tmp_path / "pairs").pairs:
        assert [read_face(half).shape for half in pair] == [(48, 48, 3)] * 2


def test_pairs_can_be_evaluated_on(face_folder, tmp_path):
    output = tmp_path / "pairs"
    make_pairs(face_folder, output, RECIPES["gpen"], 0)
    pairs = list(given_pairs(output / "lq", output / "hq", find_faces(output / "hq")))
    assert [pair.name for pair in pairs] == [f"{i}.png" for i in range(6)]
    assert all(pair.low.shape == pair.high.shape == (3, 256, 256) for pair in pairs)


def test_folders_within_the_folder_are_kept(face_folder, tmp_path):
    (face_folder / "a").mkdir()
    (face_folder / "3.png").rename(face_folder / "a" / "3.png")
    make_pairs(face_folder, tmp_path / "pairs", RECIPES["light"], 0)
    assert {"lq/a/3.png", "hq/a/3.png"} <= contents(tmp_path / "pairs").keys()


def test_broken_pictures_are_listed_and_leave_the_others_alone(face_folder, tmp_path, capsys):
    make_pairs(face_folder, tmp_path / "whole", RECIPES["bsrgan"], 0)
    (face_folder / "1.png").write_bytes((face_folder / "1.png").read_bytes()[:100])
    cv2.imwrite(str(face_folder / "4.png"), np.zeros((10, 12, 3), dtype=np.uint8))
    output = tmp_path / "pairs"
    main(["--hq", str(face_folder), "--output", str(output), "--recipe", "bsrgan"])
    lines = [line for line in capsys.readouterr().err.splitlines() if "libpng" not in line]
    assert lines[0] == "skipped 2 pictures:"
    assert "1.png cannot be read" in lines[1]
    assert "4.png is not square: 12x10" in lines[2]
    whole = contents(tmp_path / "whole")
    kept = {name: data for name, data in whole.items() if Path(name).stem not in {"1", "4"}}
    assert contents(output) == kept


def test_nothing_but_broken_pictures(face_folder, tmp_path):
    for path in find_faces(face_folder):
        path.write_text("no picture")
    with pytest.raises(
        SystemExit, match=r"error: none of 6 pictures can be used, for example: .*0\.png"
    ):
        main(["--hq", str(face_folder), "--output", str(tmp_path / "pairs")])


def test_no_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, message in (("nowhere", "is not a folder"), ("empty", "no pictures in")):
        with pytest.raises(SystemExit, match=f"^error: .*{message}") as error:
            main(["--hq", str(tmp_path / name), "--output", str(tmp_path / "pairs")])
        assert "\n" not in str(error.value)
    assert not (tmp_path / "pairs").exists()


@pytest.mark.parametrize("output", [".", "below", "../faces"])
def test_pairs_do_not_get_among_the_faces(face_folder, output):
    before = contents(face_folder)
    with pytest.raises(SystemExit, match="error: pairs in"):
        main(["--hq", str(face_folder), "--output", str(face_folder / output)])
    face_folder.rename(face_folder.parent / "hq")
    with pytest.raises(SystemExit, match="error: pairs in"):
        main(["--hq", str(face_folder.parent / "hq"), "--output", str(face_folder.parent)])
    assert contents(face_folder.parent / "hq") == before


def test_two_faces_of_one_name(face_folder, tmp_path):
    (face_folder / "0.jpg").write_bytes((face_folder / "0.png").read_bytes())
    with pytest.raises(SystemExit, match=r"error: .*0\.png and .*0\.jpg would both be written"):
        main(["--hq", str(face_folder), "--output", str(tmp_path / "pairs")])
    assert not (tmp_path / "pairs").exists()


def test_an_output_that_cannot_be_written(face_folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"error: .*file"):
        main(["--hq", str(face_folder), "--output", str(tmp_path / "file")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "jpeg"], "invalid choice: 'jpeg'"),
        (["--seed", "-1"], "expected one argument|not a whole number of at least 0"),
        (["--seed", "x"], "'x' is not a whole number of at least 0"),
        (["--size", "0"], "'0' is not a whole number of at least 1"),
    ],
)
def test_bad_options(face_folder, tmp_path, options, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--hq", str(face_folder), "--output", str(tmp_path / "pairs"), *options])
    assert exit_.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_command(face_folder, tmp_path):
    """As users call it: exit codes and streams."""
    (face_folder / "1.png").write_text("no picture")
    command = [sys.executable, "-m", "model.degrade", "--output", str(tmp_path / "pairs"), "--hq"]
    result = subprocess.run(
        [*command, str(face_folder)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0
    assert result.stdout == ""
    assert "skipped 1 pictures:" in result.stderr
    assert len(contents(tmp_path / "pairs")) == 10
