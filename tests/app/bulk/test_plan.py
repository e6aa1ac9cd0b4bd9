"""Which photos there are, and where each goes."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from app.bulk.files import write_whole
from app.bulk.origin import Origin, label_of
from app.bulk.plan import Job, Survey, Task, plan, survey


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def places(source: Path, target: Path, wanted="same") -> dict[str, str]:
    return {
        str(job.source.relative_to(source)): str(job.target.relative_to(target))
        for job in plan(source, target, wanted)
    }


def test_structure_is_kept_and_suffixes_say_the_format(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.JPG", "b/c.bmp", "b/d/e.webp", "notes.txt", ".hidden/f.tif")
    assert places(tmp_path / "in", tmp_path / "out") == {
        "a.JPG": "a.JPG",
        "b/c.bmp": "b/c.png",
        "b/d/e.webp": "b/d/e.webp",
        ".hidden/f.tif": ".hidden/f.png",
    }
    assert places(tmp_path / "in", tmp_path / "out", "webp")["a.JPG"] == "a.webp"


def test_no_two_photos_go_to_one_place(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.bmp", "a.jpg", "a.png", "a.png.png", "a.tif", "b/a.png")
    found = places(tmp_path / "in", tmp_path / "out")
    assert found["a.png"] == "a.png"  # or in the same folder, one photo would replace another
    assert found["a.png.png"] == "a.png.png"
    assert found["a.bmp"] == "a.bmp.png"
    assert len(set(found.values())) == len(found) == 6


def test_numbers_and_order_stay_while_results_appear(tmp_path: Path) -> None:
    touch(tmp_path / "in", *(f"{folder}/{i}.jpg" for folder in "cab" for i in (2, 1, 3)))
    before = list(plan(tmp_path / "in", tmp_path / "out", "same"))
    touch(tmp_path / "out", "a/1.jpg", "b/3.jpg", "b/other.jpg")
    after = list(plan(tmp_path / "in", tmp_path / "out", "same"))
    assert [job.number for job in before] == list(range(9))
    assert [(job.number, job.source) for job in before] == [(j.number, j.source) for j in after]
    done = [job for job in after if job.done]
    assert [str(job.target.relative_to(tmp_path / "out")) for job in done] == ["a/1.jpg", "b/3.jpg"]
    task = Task(tmp_path / "in", tmp_path / "out", "same", resume=True)
    assert [job.number for job in task.jobs()] == [1, 2, 3, 4, 6, 7, 8]


def test_results_among_the_photos_are_none_of_them(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "out/a.jpg", "out/deeper/b.jpg", "sub/b.jpg")
    assert places(tmp_path, tmp_path / "out") == {"a.jpg": "a.jpg", "sub/b.jpg": "sub/b.jpg"}
    in_place = {name: name for name in ("a.jpg", "out/a.jpg", "out/deeper/b.jpg", "sub/b.jpg")}
    assert places(tmp_path, tmp_path) == in_place


def test_one_folder_at_a_time_is_read(tmp_path: Path) -> None:
    """A folder that appears while the first is worked on is seen: nothing was listed ahead."""
    touch(tmp_path / "in", "a/1.jpg", "b/1.jpg")
    jobs = plan(tmp_path / "in", tmp_path / "out", "same")
    first = next(jobs)
    touch(tmp_path / "in", "b/2.jpg")
    assert first.source == tmp_path / "in" / "a" / "1.jpg"
    assert [job.source.name for job in jobs] == ["1.jpg", "2.jpg"]


def test_survey(tmp_path: Path) -> None:
    """Counts, and removes what a killed run left; nothing else."""
    touch(tmp_path / "in", "a.jpg", "b.jpg", "c/d.jpg")
    left = [".0123.gpen-part", "c/.4567.gpen-part"]
    touch(tmp_path / "out", "a.jpg", ".keep", "mine.gpen-part", *left)
    touch(tmp_path / "out", "c/other.png")
    assert survey(tmp_path / "in", tmp_path / "out", "same") == Survey(photos=3, done=1)
    there = sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert there == [".keep", "a.jpg", "mine.gpen-part", "other.png"]


def test_a_folder_below_that_cannot_be_read_is_one_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "in", "a/1.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "d/1.jpg", "d/2.jpg")
    touch(tmp_path / "out", "d/1.jpg")
    scan, listed = os.scandir, os.listdir

    def refuse(path: Path | str) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", lambda p: refuse(p) if Path(p).name == "b" else scan(p))
    monkeypatch.setattr(
        os, "listdir", lambda p: refuse(p) if str(p).endswith("out/d") else listed(p)
    )
    jobs = list(plan(tmp_path / "in", tmp_path / "out", "same"))
    assert [(job.number, str(job.source.relative_to(tmp_path / "in"))) for job in jobs] == [
        (0, "a/1.jpg"),
        (1, "b"),
        (2, "c/1.jpg"),
        (3, "d"),
    ]
    assert ["Permission denied" in job.fault for job in jobs] == [False, True, False, True]
    assert survey(tmp_path / "in", tmp_path / "out", "same") == Survey(photos=4, done=0)


def test_results_do_not_go_through_a_folder_that_is_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/sub/deeper/b.jpg", "elsewhere/deeper/b.jpg", "real/x")
    (tmp_path / "out").symlink_to("real")  # named by the user: that is no danger
    (tmp_path / "real" / "sub").symlink_to("../elsewhere")
    whole, linked = plan(tmp_path / "in", tmp_path / "out", "same")
    assert (whole.source.name, whole.fault) == ("a.jpg", "")
    assert "is a link" in linked.fault
    assert not linked.done


def finish(job: Job) -> None:
    write_whole(job.target, b"result", Origin.of(job.source))


def test_what_a_result_was_made_from_is_known(tmp_path: Path) -> None:
    """A new x.png takes the name that the result of x.bmp had."""
    source, target = tmp_path / "in", tmp_path / "out"
    task = Task(source, target, "same", resume=True)
    touch(source, "x.bmp", "y.png")
    for job in task.jobs():
        finish(job)
    if label_of(target / "x.png") is None:
        pytest.skip("this file system keeps no attributes")
    assert list(task.jobs()) == []
    touch(source, "x.png")
    again = {job.source.name: job.target.name for job in task.jobs()}
    assert again == {"x.bmp": "x.bmp.png", "x.png": "x.png"}
    for job in list(task.jobs()):
        finish(job)
    assert survey(source, target, "same") == Survey(photos=3, done=3)
    (source / "y.png").write_bytes(b"another version")
    assert [job.source.name for job in task.jobs()] == ["y.png"]


def test_where_it_is_not_known_a_name_that_two_may_have_had_is_done_again(tmp_path: Path) -> None:
    touch(tmp_path / "in", "x.bmp", "x.png", "y.bmp")
    touch(tmp_path / "out", "x.png", "y.png")
    task = Task(tmp_path / "in", tmp_path / "out", "same", resume=True)
    assert [job.source.name for job in task.jobs()] == ["x.bmp", "x.png"]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(plan(tmp_path / "nowhere", tmp_path / "out", "same"))


def test_a_job_is_a_value(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg")
    (job,) = plan(tmp_path / "in", tmp_path / "out", "png")
    assert job == Job(0, tmp_path / "in" / "a.jpg", tmp_path / "out" / "a.png", done=False)
