"""Imports go down only: each folder is a floor, and knows nothing of what is above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

FLOORS = [  # from the top; what shares a floor keeps out of each other
    ["app/cli.py"],
    ["app/commands"],
    ["app/main.py"],
    ["app/http", "app/bulk"],
    ["app/serving"],
    ["app/faces"],
    ["app/engines", "app/imaging"],
    ["app"],  # the leaves
    [f"model/{command}.py" for command in ("train", "evaluate", "degrade", "export", "runs")],
    ["model/training"],
    ["model/evaluation", "model/data"],
    ["model/checkpoints"],
    ["model/networks"],
    ["model"],  # the leaves
]
_HEIGHTS = {place: -i for i, floor in enumerate(FLOORS) for place in floor}

WHEN_NEEDED = {
    # not everybody has it
    ("model/evaluation/recognition.py", "dlib"),
    ("model/checkpoints/onnx_export.py", "onnxruntime"),
    ("model/checkpoints/onnx_export.py", "onnx_ir.passes.common"),
    # slow to import, and the image for serving goes without them
    ("model/networks/super_resolution.py", "basicsr.archs.rrdbnet_arch"),
    ("model/networks/super_resolution.py", "model.torchvision_compat"),
    ("model/checkpoints/modelscope_cache.py", "modelscope.hub.utils.utils"),
    # brings ModelScope's client along
    ("model/checkpoints/lookup.py", "model.checkpoints.modelscope_cache"),
}
"""Files of ``model`` that import a module in a function, and which."""


@dataclass(frozen=True)
class Import:
    """A line of a file of the repository, and the module that it imports."""

    importer: Path
    line: int
    module: str
    in_a_function: bool

    @property
    def imported(self) -> Path | None:
        """The file of the repository that holds the module; None for other people's modules."""
        return file_of(self.module) if self.module.split(".")[0] in ("app", "model") else None

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}"


def file_of(module: str) -> Path | None:
    """The file that holds a module of the repository; None for a name inside a module."""
    path = Path(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if (REPOSITORY / file).is_file():
            return file
    return None


def imports_of(importer: Path, source: str) -> Iterator[Import]:
    """What a file imports, wherever in it the import stands."""
    tree = ast.parse(source)
    in_functions = {
        statement
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [
                name if file_of(name := f"{node.module}.{alias.name}") else node.module
                for alias in node.names
            ]
        else:
            continue
        for module in modules:
            yield Import(importer, node.lineno, module, node in in_functions)


@cache
def all_imports() -> list[Import]:
    files = [path for folder in ("app", "model") for path in (REPOSITORY / folder).rglob("*.py")]
    assert len(files) > 100
    return [
        each
        for file in sorted(files)
        for each in imports_of(file.relative_to(REPOSITORY), file.read_text(encoding="utf-8"))
    ]


def repository_imports() -> list[tuple[Import, Path]]:
    """Those that the repository has of itself, with the imported file."""
    return [(each, imported) for each in all_imports() if (imported := each.imported)]


def place_of(file: Path) -> str:
    """The part of the house that a file belongs to, of those that ``FLOORS`` names."""
    return next(str(p) for p in (file, *file.parents) if str(p) in _HEIGHTS)


def goes_down(importer: Path, imported: Path) -> bool:
    above, below = place_of(importer), place_of(imported)
    return above == below or _HEIGHTS[below] < _HEIGHTS[above]


def test_imports_go_down_the_floors() -> None:
    up = [str(e) for e, imported in repository_imports() if not goes_down(e.importer, imported)]
    assert up == []


def test_every_folder_is_a_floor() -> None:
    """A new folder would otherwise count as leaves."""
    folders = {str(each.importer.parent) for each in all_imports()}
    inside = {folder for folder in folders if folder.count("/") == 1}
    assert inside == {place for place in _HEIGHTS if "/" in place and not place.endswith(".py")}


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("app/errors.py", "from app.faces.align import align"),
        ("app/imaging/decode.py", "from app.engines import cache"),
        ("app/faces/align.py", "import app.serving.batch"),
        ("app/bulk/plan.py", "from app.http import routes"),
        ("app/http/routes.py", "def f():\n    from app.main import create_app"),
        ("app/main.py", "from app.commands.serve import run"),
        ("model/networks/layers.py", "from model.training.config import Config"),
        ("model/networks/layers.py", "from model.training import config"),
        ("model/training/trainer.py", "import model.evaluate"),
        ("model/export.py", "from model import train"),
        ("model/data/dataset.py", "from model.evaluation.metrics import Score"),
        ("model/boxes.py", "from model.networks import FullGenerator"),
        ("model/train.py", "import app.settings"),
        ("model/data/crops.py", "def f():\n    from app import errors"),
    ],
)
def test_the_way_up_and_across_is_seen(importer: str, line: str) -> None:
    """What each of these lines is written in must not know what it imports."""
    (found,) = imports_of(Path(importer), line)
    assert found.imported is not None
    assert not goes_down(found.importer, found.imported)


def test_no_import_leads_back_to_where_it_came_from() -> None:
    """Those inside of functions count, too.  graphlib names the modules of a cycle."""
    graph = TopologicalSorter[str]()
    for each, imported in repository_imports():
        graph.add(str(each.importer), str(imported))
    graph.prepare()


OF_OPTIONAL_PACKAGES = {
    Path("app/engines") / name
    for name in ("onnx_file.py", "onnxruntime_engine.py", "openvino_engine.py")
}
"""Modules that need OpenVINO, which not every processor has, or ONNX Runtime, an extra."""


def test_imports_of_app_stand_at_the_top() -> None:
    """Where not, PyTorch is loaded only once a command runs, or the package may be missing."""
    hidden = [
        str(each)
        for each, imported in repository_imports()
        if each.importer.parts[0] == "app"
        and each.in_a_function
        and place_of(each.importer) != "app/commands"
        and each.importer != Path("app/bulk/cluster.py")  # its actors are what loads PyTorch
        and imported not in OF_OPTIONAL_PACKAGES
    ]
    assert hidden == []


def test_model_imports_in_functions_only_what_is_optional_or_slow() -> None:
    found = {
        (str(each.importer), each.module)
        for each in all_imports()
        if each.importer.parts[0] == "model" and each.in_a_function
    }
    assert found == WHEN_NEEDED
