"""``gpen crop`` on real files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from app.cli import main
from app.decode import decode
from app.detect import detect
from app.load import find_detector
from app.settings import Settings
from model.templates import landmark_template


def crop(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["crop", *arguments])
    return int(ended.value.code or 0)


def test_faces_lie_where_training_wants_them(
    astronaut: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "faces"
    (photos / "sub").mkdir(parents=True)
    two = np.hstack([astronaut, astronaut[:, ::-1]])
    Image.fromarray(two).save(photos / "sub" / "two.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    Image.new("RGB", (64, 64)).save(photos / "nobody.png")
    assert crop("-i", str(photos), "-o", str(out), "--size", "128") == 1
    written = sorted(path.relative_to(out) for path in out.rglob("*.png"))
    assert written == [Path("sub/two_0.png"), Path("sub/two_1.png")]
    captured = capsys.readouterr()
    assert "broken.jpg: " in captured.err
    assert "nobody.png: 0 faces" in captured.out

    template = landmark_template("gpen", 128)
    for path in written:
        face = decode((out / path).read_bytes(), 10**6).pixels
        assert face.shape == (128, 128, 3)
        (found,) = detect(
            find_detector(Settings(), torch.device("cpu"), commercial=True),
            [face],
            threshold=0.9,
            min_face=20,
        )[0]
        assert np.abs(found.landmarks - template).max() < 4


def test_small_faces_are_left_out(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(astronaut).save(photo)
    for enlarge, faces in ((1.0, 0), (10.0, 1)):
        out = tmp_path / str(enlarge)
        assert crop("-i", str(photo), "-o", str(out), "--enlarge", str(enlarge)) == 0
        assert len(list(out.rglob("*.png"))) == faces


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-i", "nowhere"], "nowhere: no such file"),
        (["-i", "{empty}"], "no photos in"),
        (["-i", "{empty}", "--size", "3"], "--size"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [argument.format(empty=tmp_path) for argument in arguments]
    assert crop(*arguments, "-o", str(tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
