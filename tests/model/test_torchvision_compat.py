import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def run(code: str, *search: Path) -> str:
    """Standard output of code in a fresh interpreter, where nothing is imported yet."""
    paths = os.pathsep.join(map(str, (*search, REPOSITORY)))
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_basicsr_and_facexlib_can_be_imported():
    printed = run(
        "import model.torchvision_compat\n"
        "from basicsr.data.degradations import bivariate_Gaussian\n"
        "from facexlib.detection.retinaface import RetinaFace\n"
        "print(bivariate_Gaussian(21, 2, 2, 0).shape, RetinaFace.__name__)"
    )
    assert printed.strip() == "(21, 21) RetinaFace"


def test_torchvision_works_afterwards():
    printed = run(
        "import model.torchvision_compat\n"
        "import torch\n"
        "from torchvision.transforms.functional_tensor import rgb_to_grayscale\n"
        "from torchvision.models import resnet18\n"
        "print(tuple(rgb_to_grayscale(torch.rand(3, 4, 5)).shape), resnet18.__name__)"
    )
    assert printed.strip() == "(1, 4, 5) resnet18"


def test_importing_twice_is_harmless():
    run(
        "import importlib, model.torchvision_compat as compat\n"
        "importlib.reload(compat)\n"
        "import basicsr.data.degradations"
    )


def fake_torchvision(folder: Path, start: str, *modules: str) -> Path:
    package = folder / "torchvision" / "transforms"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text(start)
    for module in ("__init__", *modules):
        (package / f"{module}.py").touch()
    return folder


def test_nothing_is_done_where_nothing_is_broken(tmp_path):
    healthy = fake_torchvision(tmp_path, "", "functional_tensor", "_functional_tensor")
    printed = run(
        "import sys, torch\n"
        "from model import torchvision_compat\n"
        "declared = hasattr(torch.ops.torchvision, 'nms')\n"
        "aliased = 'torchvision.transforms.functional_tensor' in sys.modules\n"
        "print(torchvision_compat._library, declared, aliased)",
        healthy,
    )
    assert printed.split() == ["None", "False", "False"]


def test_operators_are_declared_where_they_are_missing(tmp_path):
    """A torchvision that fails as the real one does, beside a PyTorch it was not built for."""
    start = (
        "import torch\n"
        "for name in ('nms', 'qnms'):\n"
        "    if not hasattr(torch.ops.torchvision, name):\n"
        "        raise RuntimeError(f'operator torchvision::{name} does not exist')\n"
    )
    broken = fake_torchvision(tmp_path, start, "_functional_tensor")
    printed = run(
        "import torch\n"
        "from model import torchvision_compat\n"
        "import torchvision.transforms.functional_tensor as module\n"
        "print(torchvision_compat._library is not None, module.__name__)\n"
        "try:\n"
        "    torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)\n"
        "except NotImplementedError:\n"
        "    print('not implemented')",
        broken,
    )
    assert printed.split("\n")[0].split() == ["True", "torchvision.transforms._functional_tensor"]
    assert "not implemented" in printed


def test_other_failures_are_not_hidden(tmp_path):
    broken = fake_torchvision(tmp_path, "raise RuntimeError('something else')")
    printed = run(
        "try:\n"
        "    import model.torchvision_compat\n"
        "except RuntimeError as error:\n"
        "    print(error)",
        broken,
    )
    assert printed.strip() == "something else"
