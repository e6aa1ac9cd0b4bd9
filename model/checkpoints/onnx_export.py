"""Writes generators as ONNX, and checks the files with ONNX Runtime against PyTorch."""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.checkpoints.generator import METADATA_KEY, WeightsMetadata
from model.networks import FullGenerator
from model.networks.folded import FoldedGenerator
from model.state_dicts import WeightsError

INPUT, OUTPUT, BATCH = "input", "output", "batch"
"""Names in the graph: both are (batch, 3, size, size), float32, RGB in [-1, 1], not clamped."""

TOLERANCE = 2.0
"""Largest allowed difference of a pixel from PyTorch's, in levels of 255."""

_LEVELS_PER_UNIT = 127.5


def save_onnx(generator: FullGenerator, metadata: WeightsMetadata, path: Path) -> float:
    """Write a generator as ONNX in float32, for batches of any size.

    The metadata are those of our safetensors files: JSON under the key ``gpen``.  Before the file
    gets its name, ONNX Runtime restores one face and then two at once.  Returns the largest
    difference of a pixel from PyTorch's, in levels of 255.

    Raises OSError, ModuleNotFoundError that says what to install, or WeightsError if a pixel
    differs by more than TOLERANCE.
    """
    _require_packages()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    part = path.with_name(f"{path.name}.part")
    try:
        _write(generator, metadata, part)
        difference = max(_difference(generator, part, faces) for faces in (1, 2))
        if not difference <= TOLERANCE:  # NaN is not <= either
            raise WeightsError(
                f"ONNX Runtime's pixels differ from PyTorch's by up to {difference:.3g} levels"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return difference


def _require_packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            message = f"{name} is not installed: pip install 'gpen-portrait[onnx]'"
            raise ModuleNotFoundError(message, name=name) from error


def _write(generator: FullGenerator, metadata: WeightsMetadata, path: Path) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass  # noqa: PLC0415

    # Two faces, because the exporter would treat a batch of one as a constant.
    example = torch.zeros(2, 3, generator.size, generator.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # caused by PyTorch itself
        program = torch.onnx.export(
            FoldedGenerator(generator).eval(),
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"x": {0: torch.export.Dim(BATCH)}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    # PyTorch adds to each node the lines of Python that it is from, with paths of this machine.
    ClearMetadataAndDocStringPass()(program.model)
    program.model.metadata_props[METADATA_KEY] = json.dumps(metadata.model_dump(mode="json"))
    program.save(str(path), external_data=False)


@torch.inference_mode()
def _difference(generator: FullGenerator, path: Path, faces: int) -> float:
    """The largest difference of a pixel from PyTorch's, in levels of 255, for pictures of noise."""
    import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415

    noise = torch.Generator().manual_seed(faces)
    x = torch.rand(faces, 3, generator.size, generator.size, generator=noise) * 2 - 1
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (restored,) = session.run([OUTPUT], {INPUT: x.numpy()})
    # one face at a time, to save memory
    expected: Tensor = torch.cat([generator(face) for face in torch.split(x, 1)])
    return float(np.abs(restored - expected.numpy()).max() * _LEVELS_PER_UNIT)
