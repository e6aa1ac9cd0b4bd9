import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from app.serving.preparation import prepare_apart
from app.settings import Settings
from tests.app.engines.conftest import save_small_generator


@pytest.fixture
def settings(tmp_path) -> Settings:
    weights = save_small_generator(tmp_path / "small.safetensors")
    return Settings(model=str(weights), cache_dir=tmp_path / "cache")


def test_prepares(settings):
    assert asyncio.run(prepare_apart(settings))
    (folder,) = (settings.cache_dir / "engines").iterdir()
    assert any(file.suffix == ".json" for file in folder.iterdir())


def test_says_when_it_failed(settings, capfd):
    Path(settings.model).write_bytes(b"nothing")
    assert not asyncio.run(prepare_apart(settings))
    assert "error: " in capfd.readouterr().err


def test_a_system_without_nice_is_no_reason_to_fail(settings, monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    assert not asyncio.run(prepare_apart(settings))
    assert "nice cannot be run" in caplog.text


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks into Linux's list of processes")
def test_ends_with_the_task_that_waits_for_it(settings):
    async def give_up() -> None:
        task = asyncio.create_task(prepare_apart(settings))
        await asyncio.sleep(0.5)
        assert children()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    deadline = time.monotonic() + 5
    while children():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children() -> list[str]:
    """The command lines of this process's children that prepare; threads and children may end
    while they are listed."""
    found = []
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                found.append(Path(f"/proc/{child}/cmdline").read_text())
    return [command for command in found if "prepare" in command]


def test_nothing_of_the_working_directory_runs(settings, tmp_path, monkeypatch):
    """Whoever can write there must not have a say in what a replica runs."""
    planted = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
    (tmp_path / "work" / "app").mkdir(parents=True)
    for name in ("app/__init__.py", "sitecustomize.py", "torch.py", "argparse.py"):
        (tmp_path / "work" / name).write_text(planted)
    monkeypatch.chdir(tmp_path / "work")
    assert asyncio.run(prepare_apart(settings))
    assert not list(tmp_path.rglob("ran"))
