"""The commands and programs of the README and of ``docs/`` work.

Not run are those that need Docker, a network and the like (``NOT_RUN``).

Those of a section run one after the other, in a folder that holds what they name: photos, and what
a clone has.  Training is made short (``SHORT``); ``localhost:8000`` becomes a service of the test's
own; ``python -m`` runs in this process, which has PyTorch already.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import REPOSITORY, Server, serving
from tests.documents.markdown import commands
from tests.documents.pages import code, sections

KEY = "a-key-of-sixteen-or-more"

NOT_RUN = {
    r"make serve": "installs; CI and the other tests run the rest of it",
    r"make test": "what CI runs",
    r"make (bench|soak|load)": "takes minutes; test_benchmarks and test_soak have short forms",
    r"docker ": "needs Docker",
    r"kubectl ": "needs a cluster",
    r"\.venv/bin/gpen enhance .*--ray": "needs Ray, and a cluster",
    r"sed .*nginx\.conf": "deployment/test_nginx makes such a file",
    r"sudo nginx ": "needs the privileges of root; deployment/test_nginx runs it",
    r"sudo apt-get |\.venv/bin/pip install ": "needs the network",
    r"\.venv/bin/gpen weights download": "needs the network; test_weights has a stand-in",
    r"\.venv/bin/gpen serve": "runs until it is stopped; the other tests run it",
    r"\.venv/bin/gpen prepare": "takes a minute; test_prepare has a short form",
    r"(torchrun|accelerate) ": "needs several GPUs; test_processes has two processes",
}
"""How commands begin, and why they are not run here."""

RUN = ("curl ", "openapi-python-client ", ".venv/bin/gpen ", ".venv/bin/python ")

SHORT = [
    *("train.img_size=64", "network={channel_multiplier: 1, narrow: 0.0625}"),
    *("train.content={epochs: 1}", "train.warmup_epochs=1", "train.num_epochs=2"),
    *("train.batch_size=2", "train.validate_every=1", "data.workers=0"),
]

LONG = {("docs/training.md", "Commands"), ("docs/training.md", "Faces")}
"""Sections that train and evaluate; the tests of these commands are in ``tests/model``."""

PICTURES = {".jpg", ".png"}

_OUTPUT = re.compile(r"(?:-o|--output|--json|--csv|--grid) (\S+)")
_TOY_SERVED = re.compile(r"GPEN_MODEL=(\S+) make serve")


def why_not(command: str) -> str | None:
    """The reason why a command is not run; what it sets before itself does not count."""
    program = re.sub(r"^(?:\w+=\S+ )+", "", command)
    return next((why for begin, why in NOT_RUN.items() if re.match(begin, program)), None)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Server]]:
    """A service with keys; started when it is first asked for."""
    started: list[Server] = []
    log = tmp_path_factory.mktemp("keyed") / "log"
    running = serving(log, GPEN_MODEL="gpen-starter-256", GPEN_API_KEYS=KEY)

    def start() -> Server:
        if not started:
            started.append(running.__enter__())
        return started[0]

    yield start
    if started:
        running.__exit__(None, None, None)


@pytest.fixture
def place(tmp_path: Path, astronaut: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a clone has, and with photos under the names that the pages use."""
    for name in ("model", "inference_gpen.py"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    photo = Image.fromarray(astronaut)
    photo.save(tmp_path / "photo.jpg")
    for folder in ("folder", "PHOTOS"):
        (tmp_path / folder).mkdir()
    photo.save(tmp_path / "folder" / "one.jpg")
    photo.rotate(10).save(tmp_path / "folder" / "two.png")
    wider = Image.fromarray(np.pad(astronaut, ((64, 0), (0, 0), (0, 0)), mode="edge"))
    for i in range(6):  # large enough for faces of 512 pixels, with room for a margin around them
        larger = wider.crop((60, i, 400, 300 + i)).resize((2040, 1800), Image.Resampling.BICUBIC)
        larger.save(tmp_path / "PHOTOS" / f"{i}.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    """Variables and programs that the pages take for granted."""
    own = {"KEY": KEY, "GPEN_MODEL": "gpen-starter-256", "GPEN_CACHE_DIR": str(place / "cache")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # the commands of this checkout, also where several share what they are installed in
    return {**os.environ, **own, "PATH": path, "PYTHONPATH": str(REPOSITORY)}


def run_module(name: str, arguments: list[str]) -> None:
    """``python -m name arguments``, without another process."""
    status: object = None
    try:
        importlib.import_module(name).main(arguments)
    except SystemExit as end:
        status = end.code
    assert not status, f"{name} {arguments}: {status}"


def execute(program: list[str], place: Path) -> str:
    """Run in ``place``; fails with all that was said, unless the status is 0."""
    ended = subprocess.run(
        program,
        check=False,
        cwd=place,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, f"{program}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def size(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        return image.size


def run_command(command: str, place: Path, server: Server) -> None:
    """Run a command of a page, and check what it wrote."""
    command = command.replace("http://localhost:8000", "localhost:8000")
    command = command.replace("localhost:8000", server.url)
    made = [place / name for name in _OUTPUT.findall(command)]
    for picture in (path for path in made if path.suffix in PICTURES):
        picture.unlink(missing_ok=True)
    program, *arguments = shlex.split(command)
    said = ""
    if program == ".venv/bin/python" and arguments[0] == "-m":
        short = SHORT if arguments[1] == "model.train" else []
        run_module(arguments[1], arguments[2:] + [each for s in short for each in ("--set", s)])
    else:
        command = re.sub(r"^curl ", "curl --fail-with-body -sS ", command)
        said = execute(["bash", "-euo", "pipefail", "-c", command], place)
    for path in made:
        assert path.exists(), f"{command}: no {path.name}"
        if path.suffix in PICTURES:
            assert min(size(path)) >= 64
    if "application/json" in command:
        assert json.loads(said)["faces"]


def stand_ins(command: str, place: Path) -> None:
    """What the reader has made by hand before this command."""
    faces = place / "FACES"
    if faces.exists() and not (faces / "holdout.txt").exists():
        found = sorted(path for path in faces.rglob("*") if path.is_file())
        kept = "\n".join(str(path.relative_to(faces)) for path in found[-2:])
        (faces / "holdout.txt").write_text(kept)
    if "runs/b" in command and not (place / "runs/b").exists():
        shutil.copytree(place / "runs/a", place / "runs/b")


def serve_toy(weights: Path, log: Path, photo: bytes) -> None:
    with serving(log, GPEN_MODEL=str(weights)) as toy:
        assert httpx2.get(f"{toy.url}/health").json()["model"] == weights.stem
        answer = httpx2.post(f"{toy.url}/enhance", files={"file": photo}, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["X-Model"] == weights.stem


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("page", "section"),
    [
        pytest.param(*place, marks=pytest.mark.long if place in LONG else ())
        for place in sections("sh")
    ],
)
def test_commands(
    page: str,
    section: str,
    place: Path,
    server: Server,
    keyed: Callable[[], Server],
    astronaut_png: bytes,
) -> None:
    for command in (each for block in code(page, section, "sh") for each in commands(block.text)):
        stand_ins(command, place)
        if toy := _TOY_SERVED.fullmatch(command):
            serve_toy(place / toy[1], place / "log", astronaut_png)
        elif why_not(command) is None:
            assert command.startswith(RUN), f"neither run nor excused: {command}"
            run_command(command, place, keyed() if "KEY" in command else server)


@pytest.mark.parametrize(("page", "section"), sections("python", "js"))
def test_programs(page: str, section: str, place: Path, server: Server) -> None:
    runners = {"python": [sys.executable, "-c"], "js": ["node", "--input-type=module", "-e"]}
    for language, runner in runners.items():
        for block in code(page, section, language):
            if shutil.which(runner[0]) is None:
                pytest.skip(f"{runner[0]} is not here")
            (place / "restored.jpg").unlink(missing_ok=True)
            said = execute(
                [*runner, block.text.replace("http://localhost:8000", server.url)], place
            )
            if "/enhance" in block.text:
                assert "1 faces restored" in said
                assert size(place / "restored.jpg") == (1024, 1024)


def test_every_excuse_is_needed() -> None:
    texts = [block.text for place in sections("sh") for block in code(*place, "sh")]
    excused = {why_not(command) for text in texts for command in commands(text)}
    assert set(NOT_RUN.values()) <= excused
