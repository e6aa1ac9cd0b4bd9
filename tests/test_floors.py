"""Imports go down only: each folder is a floor, and knows nothing of what is above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

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
    ["model"],
]
_HEIGHTS = {place: -i for i, floor in enumerate(FLOORS) for place in floor}


@dataclass(frozen=True)
class Import:
    """A line of a file of the repository, and the file that it imports."""

    importer: Path
    line: int
    imported: Path
    in_a_function: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def file_of(module: str) -> Path | None:
    """The file that holds a module of the repository; None for a name inside a module."""
    path = Path(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if (REPOSITORY / file).is_file():
            return file
    return None


def imports_of(importer: Path, source: str) -> Iterator[Import]:
    """What a file imports of ``app`` and ``model``, wherever in it the import stands."""
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
            if module.split(".")[0] in ("app", "model") and (imported := file_of(module)):
                yield Import(importer, node.lineno, imported, node in in_functions)


def repository_imports() -> list[Import]:
    files = [path for folder in ("app", "model") for path in (REPOSITORY / folder).rglob("*.py")]
    return [
        each
        for file in sorted(files)
        for each in imports_of(file.relative_to(REPOSITORY), file.read_text(encoding="utf-8"))
    ]


def place_of(file: Path) -> str:
    """The part of the house that a file belongs to, of those that ``FLOORS`` names."""
    return next(str(p) for p in (file, *file.parents) if str(p) in _HEIGHTS)


def goes_down(each: Import) -> bool:
    importer, imported = place_of(each.importer), place_of(each.imported)
    return importer == imported or _HEIGHTS[imported] < _HEIGHTS[importer]


def test_imports_go_down_the_floors() -> None:
    assert [str(each) for each in repository_imports() if not goes_down(each)] == []


def test_the_way_up_and_across_is_seen() -> None:
    """What each of these lines is written in must not know what it imports."""
    for importer, line in (
        ("app/errors.py", "from app.faces.align import align"),
        ("app/imaging/decode.py", "from app.engines import cache"),
        ("app/faces/align.py", "import app.serving.batch"),
        ("app/bulk/plan.py", "from app.http import routes"),
        ("app/http/routes.py", "def f():\n    from app.main import create_app"),
        ("app/main.py", "from app.commands.serve import run"),
        ("model/weights.py", "from app.settings import Settings"),
    ):
        (found,) = imports_of(Path(importer), line)
        assert not goes_down(found), found


def test_no_import_leads_back_to_where_it_came_from() -> None:
    """Those inside of functions count, too.  graphlib names the modules of a cycle."""
    graph = TopologicalSorter[str]()
    for each in repository_imports():
        graph.add(str(each.importer), str(each.imported))
    graph.prepare()


def test_imports_stand_at_the_top() -> None:
    """Where they do not, PyTorch is loaded only once a command runs, or OpenVINO may be missing."""
    hidden = [
        str(each)
        for each in repository_imports()
        if each.importer.parts[0] == "app"
        and each.in_a_function
        and place_of(each.importer) != "app/commands"
        and each.importer != Path("app/bulk/cluster.py")  # its actors are what loads PyTorch
        and each.imported != Path("app/engines/openvino_engine.py")
    ]
    assert hidden == []
