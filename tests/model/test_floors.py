"""model/ is built in floors: imports only go down, and never to app/."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import model

ROOT = Path(model.__file__).parent

FLOORS = (
    {"train", "evaluate", "degrade", "export", "runs"},
    {"training"},
    {"evaluation", "data"},  # neither imports the other
    {"checkpoints"},
    {"networks"},
    {"boxes", "files", "levels", "section", "state_dicts", "torchvision_compat"},
)

WHEN_NEEDED = {
    # not everybody has it
    ("model.evaluation.recognition", "dlib"),
    ("model.checkpoints.onnx_export", "onnxruntime"),
    ("model.checkpoints.onnx_export", "onnx_ir.passes.common"),
    # slow to import, and the image for serving goes without them
    ("model.networks.super_resolution", "basicsr.archs.rrdbnet_arch"),
    ("model.networks.super_resolution", "model.torchvision_compat"),
    ("model.checkpoints.modelscope_cache", "modelscope.hub.utils.utils"),
    # brings ModelScope's client along
    ("model.checkpoints.lookup", "model.checkpoints.modelscope_cache"),
}
"""Modules that import another one in a function, and which."""


def _name(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _modules(root: Path) -> dict[str, ast.Module]:
    return {_name(path, root): ast.parse(path.read_text()) for path in sorted(root.rglob("*.py"))}


MODULES = _modules(ROOT)


def _imported(tree: ast.AST, modules: dict[str, ast.Module]) -> Iterator[str]:
    """Names of the modules that are imported, by whatever form of the statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def _floor(module: str) -> int | None:
    """Counted from the top; None for the package itself."""
    _, _, inner = module.partition(".")
    place = inner.partition(".")[0]
    if not place:
        return None
    floors = [i for i, places in enumerate(FLOORS) if place in places]
    assert floors, f"{module} is on no floor: add {place} to FLOORS"
    return floors[0]


def _fault(importing: str, imported: str) -> str | None:
    if imported.partition(".")[0] == "app":
        return f"{importing} imports {imported}: model/ knows nothing of app/"
    if imported.partition(".")[0] != "model":
        return None
    ours, theirs = _floor(importing), _floor(imported)
    if ours is None or theirs is None:
        return None if ours == theirs else f"{importing} imports {imported}: the package is empty"
    same_place = importing.split(".")[1] == imported.split(".")[1]
    if theirs < ours or (theirs == ours and not same_place and ours < len(FLOORS) - 1):
        return f"{importing} imports {imported}: imports only go down"
    return None


def _faults(modules: dict[str, ast.Module]) -> list[str]:
    return [
        fault
        for name, tree in modules.items()
        for imported in _imported(tree, modules)
        if (fault := _fault(name, imported))
    ]


def test_imports_only_go_down():
    assert len(MODULES) > 50
    assert {place for places in FLOORS for place in places} == {
        name.split(".")[1] for name in MODULES if "." in name
    }
    assert _faults(MODULES) == []


@pytest.mark.parametrize(
    ("importing", "statement", "imported"),
    [
        ("model.networks.layers", "from model.training.config import Config", None),
        ("model.networks.layers", "from model.training import config", None),
        ("model.training.trainer", "import model.evaluate", None),
        ("model.export", "from model import train", "model.train"),
        ("model.data.dataset", "from model.evaluation.metrics import score", None),
        ("model.boxes", "from model.networks import FullGenerator", "model.networks"),
        ("model.train", "import app.settings", "app.settings"),
        ("model.data.crops", "def f():\n    from app import errors", "app"),
    ],
)
def test_an_import_that_goes_up_is_named(importing, statement, imported):
    modules = MODULES | {importing: ast.parse(statement)}
    (fault,) = _faults(modules)
    assert importing in fault
    assert (imported or statement.split()[1]) in fault


def _graph(modules: dict[str, ast.Module]) -> dict[str, set[str]]:
    return {
        name: {imported for imported in _imported(tree, modules) if imported in modules}
        for name, tree in modules.items()
    }


def test_no_module_imports_itself_in_the_end():
    TopologicalSorter(_graph(MODULES)).prepare()
    circle = MODULES | {"model.boxes": ast.parse("from model.section import Section")}
    circle["model.section"] = ast.parse("import model.boxes")
    with pytest.raises(CycleError):
        TopologicalSorter(_graph(circle)).prepare()


def test_only_what_is_optional_or_slow_is_imported_in_a_function():
    found = {
        (name, imported)
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for imported in _imported(node, MODULES)
    }
    assert found == WHEN_NEEDED
