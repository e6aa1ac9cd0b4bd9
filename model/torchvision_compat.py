"""Makes basicsr and facexlib importable beside today's PyTorch and torchvision.

Import this module before facexlib or basicsr.  Two things are cured, each only where it is broken:

* torchvision's compiled operators do not load beside a CPU-only PyTorch (its wheels link CUDA),
  and ``import torchvision`` then fails because ``torchvision::nms`` and ``::qnms`` are unknown.
  They are declared, not implemented: calling them still raises, and nothing here does (boxes are
  suppressed by OpenCV).
* basicsr 1.4.2 imports ``torchvision.transforms.functional_tensor``, removed in torchvision 0.17.
  The name leads to its successor.

Where torchvision imports and has the module, this does nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

import torch

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _declare_operators() -> torch.library.Library | None:
    """Declare torchvision's operators if it cannot be imported without; keep what is returned."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _OPERATORS:
            library.define(schema)  # type: ignore[no-untyped-call]
        importlib.import_module("torchvision")
        return library
    return None


def _alias_functional_tensor() -> None:
    name = "torchvision.transforms.functional_tensor"
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        sys.modules[name] = importlib.import_module("torchvision.transforms._functional_tensor")


_library = _declare_operators()  # the declarations live as long as this object
_alias_functional_tensor()
