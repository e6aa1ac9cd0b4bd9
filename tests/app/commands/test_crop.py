"""``gpen crop`` on real files."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from app.cli import main
from app.commands.photos import stems
from app.faces.detect import detect
from app.imaging.decode import decode
from app.serving.networks import find_detector
from app.settings import Settings
from model.checkpoints.templates import landmark_template


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


def test_faces_of_a_photo_on_its_head_are_written_upright(
    astronaut: NDArray[np.uint8], tmp_path: Path
) -> None:
    written = []
    for quarters in (0, 2):
        photo, out = tmp_path / f"{quarters}.png", tmp_path / str(quarters)
        Image.fromarray(np.rot90(astronaut, quarters)).save(photo)
        assert crop("-i", str(photo), "-o", str(out), "--size", "128") == 0
        written.append((out / f"{quarters}_0.png").read_bytes())
    assert written[0] == written[1]


def test_small_faces_are_left_out(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(astronaut).save(photo)
    for enlarge, faces in ((1.0, 0), (10.0, 1)):
        out = tmp_path / str(enlarge)
        assert crop("-i", str(photo), "-o", str(out), "--enlarge", str(enlarge)) == 0
        assert len(list(out.rglob("*.png"))) == faces


def test_a_margin_of_real_picture_lies_around_the_face(
    astronaut: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The middle is the face as it is without a margin; a face at the border is left out."""
    photo = tmp_path / "photo.png"
    Image.fromarray(np.pad(astronaut, ((200, 0), (0, 0), (0, 0)), mode="edge")).save(photo)
    plain, wide = tmp_path / "plain", tmp_path / "wide"
    assert crop("-i", str(photo), "-o", str(plain), "--size", "128") == 0
    assert crop("-i", str(photo), "-o", str(wide), "--size", "128", "--margin", "0.125") == 0
    pixels = [np.asarray(Image.open(folder / "photo_0.png")) for folder in (plain, wide)]
    assert pixels[1].shape == (160, 160, 3)
    difference = np.abs(pixels[1][16:-16, 16:-16].astype(int) - pixels[0])
    assert difference.mean() < 1.5  # one pixel further it would be 7
    capsys.readouterr()
    cut = tmp_path / "cut.png"
    Image.fromarray(astronaut).save(cut)  # above her hair, the photo ends
    assert crop("-i", str(cut), "-o", str(wide), "--size", "128", "--margin", "0.125") == 0
    assert "0 faces, 1 too near the border" in capsys.readouterr().out
    assert not (wide / "cut_0.png").exists()


def test_a_folder_that_cannot_be_read_is_one_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shut = tmp_path / "photos" / "shut"
    shut.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "nobody.png")
    scandir = os.scandir

    def scan(path: str | Path) -> Any:
        if Path(path) == shut:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", scan)
    assert crop("-i", str(tmp_path / "photos"), "-o", str(tmp_path / "faces")) == 1
    captured = capsys.readouterr()
    assert captured.err.count(f"error: {shut}: Permission denied") == 1
    assert "nobody.png: 0 faces" in captured.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-i", "nowhere"], "nowhere: no such file"),
        (["-i", "{empty}"], "no photos in"),
        (["-i", "{empty}", "--size", "3"], "--size"),
        (["-i", "{empty}", "--margin", "1.5"], "--margin"),
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


def test_nothing_is_written_over(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    """Not a photo, where faces go into the photos' own folder; nor a face of another photo."""
    portrait = Image.fromarray(astronaut[:300, 80:380])
    for name in ("a.bmp", "a.png", "b.png"):
        portrait.save(tmp_path / name)
    Image.new("RGB", (64, 64)).save(tmp_path / "b_0.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "elsewhere", format="PNG")
    (tmp_path / "a.bmp_0.png").symlink_to("elsewhere")
    (tmp_path / "a.bmp").chmod(0o600)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    folders = ("-i", str(tmp_path), "-o", str(tmp_path), "--size", "64")
    assert crop(*folders) == 0
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() - before.keys() == {"a.bmp_0-2.png", "a.png_0.png", "b_0-2.png"}
    assert {name: after[name] for name in before} == before
    assert stat.S_IMODE((tmp_path / "a.bmp_0-2.png").stat().st_mode) == 0o600


def test_faces_that_are_there_are_not_written_twice(
    astronaut: NDArray[np.uint8], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(astronaut[:300, 80:380]).save(tmp_path / "photos" / "a.png")
    folders = ("-i", str(tmp_path / "photos"), "-o", str(tmp_path / "faces"))
    for _ in range(2):
        assert crop(*folders, "--size", "64") == 0
    assert [path.name for path in (tmp_path / "faces").iterdir()] == ["a_0.png"]
    assert crop(*folders, "--size", "48") == 0
    assert len(list((tmp_path / "faces").iterdir())) == 2


def test_names_of_faces_differ() -> None:
    photos = [Path(name) for name in ("a.jpg", "a.png", "a.jpg.png", "b/a.jpg", "c.png")]
    found = stems(photos)
    assert found[Path("b/a.jpg")] == "a"
    assert found[Path("c.png")] == "c"
    assert len({(photo.parent, name) for photo, name in found.items()}) == len(photos)
