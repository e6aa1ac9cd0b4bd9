"""Face restorers as ONNX files, the form in which GPEN, GFPGAN, RestoreFormer++ and CodeFormer are
passed around.

Such a network takes a picture, (1 or N, 3, S, S) RGB in [-1, 1], and returns one of the same size.
CodeFormer has a second input: a number that says how closely the result follows the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.engines.openvino_core import core
from model.checkpoints.generator import METADATA_KEY, WeightsMetadata
from model.checkpoints.lookup import Resolved
from model.state_dicts import WeightsError, readable

import openvino  # isort: skip
from openvino import opset15 as ops  # isort: skip

FIDELITY = 0.5
"""What a second, scalar input is given: CodeFormer's own default."""

_HALF = 127.5
_PICTURE_RANK = 4


@dataclass(frozen=True)
class OnnxFile:
    """A face restorer that was read from an ONNX file."""

    size: int
    """S: pixels a side of the picture."""
    picture: str
    """Name of the input that takes the picture."""
    constants: dict[str, NDArray[np.generic]]
    """What the other inputs are given, by their names."""
    restored: str
    """Name of the output that is the restored picture."""
    metadata: WeightsMetadata | None
    """What the file says of itself; None if it is not one of ours."""
    network: openvino.Model
    """For a batch of one."""


def read_onnx(path: Path) -> OnnxFile:
    """Read a face restorer.

    Raises WeightsError, which says what inputs and outputs the file has if it is something else.
    """
    with readable(path):
        network = core().read_model(path)
        metadata = None
        if network.has_rt_info(["framework", METADATA_KEY]):
            stated = network.get_rt_info(["framework", METADATA_KEY]).astype(str)
            metadata = WeightsMetadata.model_validate_json(stated)
    pictures = [port for port in network.inputs if _picture_size(port)]
    others = [port for port in network.inputs if not _picture_size(port)]
    if len(pictures) != 1 or not all(_is_scalar(port) for port in others):
        raise WeightsError(f"{path} is no face restorer: {_described(network)}")
    (picture,) = pictures
    size = _picture_size(picture)
    network.reshape({picture.any_name: [1, 3, size, size]})
    restored = next((port for port in network.outputs if _picture_size(port) == size), None)
    if restored is None:
        raise WeightsError(f"{path} is no face restorer: {_described(network)}")
    constants = {
        port.any_name: np.full(port.get_shape(), FIDELITY, port.element_type.to_dtype())
        for port in others
    }
    return OnnxFile(size, picture.any_name, constants, restored.any_name, metadata, network)


def described(resolved: Resolved) -> Resolved:
    """With the name, licence and template that an ONNX file states, if it is one of ours.

    Raises WeightsError.
    """
    metadata = read_onnx(resolved.path).metadata
    if metadata is None:
        return resolved
    return Resolved(metadata.name, resolved.path, metadata.licence, metadata.template)


def levels_to_levels(file: OnnxFile) -> openvino.Model:
    """The network between 8-bit pictures, like ``app.engines.levels.LevelsToLevels``.

    Uses up ``file.network``.
    """
    network = file.network
    for name, value in file.constants.items():
        port = network.input(name)
        port.replace(ops.constant(value).output(0))
    picture = network.input(file.picture)
    crops = ops.parameter([1, file.size, file.size, 3], np.uint8)
    half, one = ops.constant(_HALF, np.float32), ops.constant(1.0, np.float32)
    x = ops.subtract(ops.divide(ops.convert(crops, "f32"), half), one)
    x = ops.convert(ops.transpose(x, ops.constant([0, 3, 1, 2])), picture.element_type)
    output = network.output(file.restored).get_node().input_value(0)
    picture.replace(x.output(0))
    y = ops.convert(output, "f32")
    levels = ops.round(ops.multiply(ops.add(y, one), half), "half_to_even")
    levels = ops.clamp(levels, 0.0, 255.0)
    levels = ops.transpose(ops.convert(levels, "u8"), ops.constant([0, 2, 3, 1]))
    mean = ops.reduce_mean(y, ops.constant([1, 2, 3]))
    return openvino.Model([levels, mean], [crops])


def _picture_size(port: openvino.Output) -> int:
    """S of a port of shape (any, 3, S, S); 0 for any other."""
    shape = port.partial_shape
    if shape.rank.is_dynamic or len(shape) != _PICTURE_RANK:
        return 0
    batch, *rest = shape
    if any(side.is_dynamic for side in rest):
        return 0
    channels, height, width = (side.get_length() for side in rest)
    takes_one = batch.is_dynamic or batch.get_length() == 1
    return height if takes_one and channels == 3 and height == width else 0


def _is_scalar(port: openvino.Output) -> bool:
    shape = port.partial_shape
    return not shape.is_dynamic and int(np.prod(shape.get_min_shape())) == 1


def _described(network: openvino.Model) -> str:
    inputs, outputs = (
        ", ".join(f"{port.any_name} {port.partial_shape}" for port in ports)
        for ports in (network.inputs, network.outputs)
    )
    return (
        f"its inputs are {inputs}, and its outputs {outputs}; a face restorer takes a picture "
        "(1 or N, 3, S, S), and returns one of the same size"
    )
