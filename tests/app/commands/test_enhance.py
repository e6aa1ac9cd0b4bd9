"""``gpen enhance`` and ``inference_gpen.py`` on real files."""

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.bulk.outcome import Outcome
from app.bulk.plan import Task
from app.cli import main
from tests.conftest import REPOSITORY


def picture(path: Path) -> Image.Image:
    return Image.open(BytesIO(path.read_bytes()))


def gpen(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["enhance", "--model", "gpen-starter-256", *arguments])
    return int(ended.value.code or 0)


def test_a_photo(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    source, target = tmp_path / "in.jpg", tmp_path / "new" / "out.png"
    Image.fromarray(astronaut).save(source)
    assert gpen("-i", str(source), "-o", str(target), "--strength", "0.5") == 0
    result = picture(target)
    assert result.format == "PNG"  # as the name says
    changed = (np.asarray(result) != np.asarray(picture(source))).any(axis=2)
    assert changed[60:200, 170:290].mean() > 0.5
    assert not changed[400:].any()


def test_a_folder(
    astronaut: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its structure is kept; what cannot be read is told, and does not stop the rest."""
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    Image.fromarray(astronaut[:300, 80:380]).save(photos / "a.jpg")
    Image.fromarray(astronaut[:300, 80:380]).save(photos / "sub" / "b.bmp")
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (photos / "notes.txt").write_text("not a photo")
    out = tmp_path / "out"
    assert gpen("-i", str(photos), "-o", str(out)) == 1
    written = {str(p.relative_to(out)): picture(p).format for p in out.rglob("*.*g")}
    failures = (out / "failures.jsonl").read_text()
    assert json.loads(failures) == {
        "path": str(photos / "broken.png"),
        "type": "broken-picture",
        "detail": "The picture is broken or cut off.",
    }
    assert written == {"a.jpg": "JPEG", "sub/b.png": "PNG"}
    captured = capsys.readouterr()
    assert "broken.png: The picture is broken or cut off." in captured.err
    assert "a.jpg: 1 faces restored" in captured.out


def test_resumed_it_does_what_is_not_done(
    astronaut: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(astronaut[:300, 80:380]).save(photos / name)
    (photos / "c.jpg").write_bytes(b"broken")
    folders = ("-i", str(photos), "-o", str(out))
    out.mkdir()
    (out / "a.jpg").write_text("done")
    assert gpen(*folders, "--resume", "--failures", str(tmp_path / "list")) == 1
    assert (out / "a.jpg").read_text() == "done"
    assert picture(out / "b.jpg").format == "JPEG"
    assert len((tmp_path / "list").read_text().splitlines()) == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "b.jpg"]

    (photos / "c.jpg").unlink()
    assert gpen(*folders, "--resume", "--failures", str(tmp_path / "list")) == 0
    assert "all 2 results exist already" in capsys.readouterr().out
    assert not (tmp_path / "list").exists()
    assert gpen(*folders) == 0
    assert picture(out / "a.jpg").format == "JPEG"  # without, all is done again

    assert gpen("-i", str(photos / "a.jpg"), "-o", str(out / "a.jpg"), "--resume") == 0
    assert "exists already" in capsys.readouterr().out


def test_photos_whose_worker_died_are_listed(
    astronaut: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for i in range(4):
        Image.new("RGB", (64, 64)).save(photos / f"{i}.png")

    def cluster(task: Task, *_: object, **_more: object) -> Iterator[Outcome]:
        """Writes two, and tells of one of them."""
        for job in list(task.jobs())[:2]:
            job.target.parent.mkdir(exist_ok=True)
            job.target.write_text("done")
        yield Outcome(job, 0)

    monkeypatch.setattr("app.commands.enhance.enhance_on_cluster", cluster)
    folders = ("-i", str(photos), "-o", str(out), "--ray")
    assert gpen(*folders, "--resume") == 1
    lines = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert [(Path(line["path"]).name, line["type"]) for line in lines] == [
        ("2.png", "worker-died"),
        ("3.png", "worker-died"),
    ]
    assert gpen(*folders) == 1  # nobody knows of those from before
    assert len((out / "failures.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-i", "nowhere.jpg", "-o", "x.jpg"], "nowhere.jpg: no such file or directory"),
        (["-i", ".", "-o", "x", "--strength", "2"], "strength: "),
        (["-i", "{empty}", "-o", "x"], "no photos in"),
        (["-i", ".", "-o", ".", "--resume"], "an output folder other than the input folder"),
        (["-i", ".", "-o", "{photo}"], "is not a folder"),
        (["-i", "{photo}", "-o", "x.png", "--ray"], "--ray is for folders"),
        (["-i", ".", "-o", "x", "--ray", "--ray-workers", "0"], "--ray-workers"),
        (["-i", "{photo}", "-o", "x", "--device", "cuda:99"], "cuda:99"),
        (["-i", "{photo}", "-o", "x", "--model", "nothing.pth"], "nothing.pth"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    places = {"empty": tmp_path / "empty", "photo": tmp_path / "photo.png"}
    assert gpen(*(argument.format(**places) for argument in arguments)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.long
def test_the_published_command_restores_a_sample(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(REPOSITORY / "inference_gpen.py")],
        cwd=tmp_path,
        check=True,
        timeout=120,
        env={"GPEN_MODEL": "gpen-starter-256", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert picture(tmp_path / "output_astronaut.jpg").size == (512, 512)


def test_what_is_there_is_not_hurt(
    astronaut: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    out.mkdir()
    for name in ("a.png", "forged\x1b[2J\nall is well.png"):
        Image.fromarray(astronaut[:300, 80:380]).save(photos / name)
    (photos / "a.png").chmod(0o600)
    (tmp_path / "elsewhere").write_text("untouched")
    (out / "a.png").symlink_to("../elsewhere")
    assert gpen("-i", str(photos), "-o", str(out)) == 0
    assert (tmp_path / "elsewhere").read_text() == "untouched"
    assert stat.S_IMODE((out / "a.png").lstat().st_mode) == 0o600
    said = capsys.readouterr().out
    assert "\x1b[2J" not in said
    assert r"forged\x1b[2J\nall is well.png: 1 faces restored" in said
