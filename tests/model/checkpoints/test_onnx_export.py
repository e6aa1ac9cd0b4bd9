"""ONNX files, as ONNX Runtime sees them."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from model.checkpoints import onnx_export
from model.checkpoints.generator import WeightsMetadata, load_generator
from model.checkpoints.onnx_export import save_onnx
from model.checkpoints.table import BFR_512, BUNDLED_DIR, STARTER_256
from model.data.dataset import to_tensors
from model.export import main
from model.networks import Architecture, FullGenerator
from model.state_dicts import WeightsError


def metadata_of(architecture: Architecture) -> WeightsMetadata:
    return WeightsMetadata(
        name="mine", architecture=architecture, template="gpen", licence="CC0-1.0", training="not"
    )


def seeded(architecture: Architecture) -> FullGenerator:
    """One whose every layer shows in the picture; at the start of a training, many do not."""
    torch.manual_seed(0)
    generator = architecture.generator().eval().requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise.weight"):
            parameter.fill_(0.5)
    return generator


def session_of(path: Path) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def levels(x: np.ndarray | Tensor) -> np.ndarray:
    return np.rint((np.asarray(x).clip(-1, 1) + 1) * 127.5)


@pytest.mark.long
def test_the_starter_restores_alike_in_onnx_runtime(tmp_path, capsys):
    """Through the command: same pixels for any number of faces, and the weights' own metadata."""
    weights, output = BUNDLED_DIR / STARTER_256.file_name, tmp_path / "starter.onnx"
    main(["--weights", str(weights), "--output", str(output)])
    assert "levels of 255 from PyTorch" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["starter.onnx"]

    generator, metadata = load_generator(weights)
    assert metadata is not None
    session = session_of(output)
    (stated,) = session.get_modelmeta().custom_metadata_map.items()
    assert stated[0] == "gpen"
    assert WeightsMetadata.model_validate_json(stated[1]) == metadata
    assert [i.shape for i in (*session.get_inputs(), *session.get_outputs())] == [
        ["batch", 3, 256, 256],
        ["batch", 3, 256, 256],
    ]

    import skimage.data

    photo = skimage.data.astronaut()
    faces = np.stack([photo[top : top + 256, 64:320] for top in (0, 20, 40)])
    low = to_tensors(faces).contiguous()
    with torch.inference_mode():
        expected = generator(low)
    assert levels(expected).std() > 20  # it is a picture
    for count in (1, 2, 3):
        (restored,) = session.run(["output"], {"input": low[:count].numpy()})
        assert restored.shape == (count, 3, 256, 256)
        assert np.abs(levels(restored) - levels(expected[:count])).max() <= 2


@pytest.mark.long
@pytest.mark.timeout(900)
def test_gpen_bfr_512_restores_alike_in_onnx_runtime(tmp_path):
    """The whole network, with seeded weights: 1.4 minutes of one core, and 4 GB of memory."""
    architecture = BFR_512.architecture
    generator = seeded(architecture)
    output = tmp_path / "mine.onnx"
    assert save_onnx(generator, metadata_of(architecture), output) <= 0.1
    x = torch.rand(1, 3, 512, 512) * 2 - 1
    with torch.inference_mode():
        expected = generator(x)
    assert levels(expected).std() > 20
    (restored,) = session_of(output).run(["output"], {"input": x.numpy()})
    assert np.abs(levels(restored) - levels(expected)).max() <= 2

    model = onnx.load(output)
    onnx.checker.check_model(model)
    (stated,) = model.metadata_props
    assert json.loads(stated.value)["architecture"]["size"] == 512
    # PyTorch's exporter notes the files of the code, with their paths
    assert b"/model/networks" not in output.read_bytes()


@pytest.fixture
def small() -> FullGenerator:
    return seeded(Architecture(64, 1, 1 / 16))


def refused(small: FullGenerator, path: Path, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        save_onnx(small, metadata_of(Architecture(64, 1, 1 / 16)), path)


def test_a_file_that_restores_otherwise_is_refused(small, tmp_path, monkeypatch):
    """Another network's graph in the file: the pixels differ, and nothing is left behind."""

    def write_another(generator: FullGenerator, metadata: WeightsMetadata, path: Path) -> None:
        shape = ["batch", 3, 64, 64]
        ends = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name in ("input", "output")
        ]
        node = onnx.helper.make_node("Neg", ["input"], ["output"])
        graph = onnx.helper.make_graph([node], "another", ends[:1], ends[1:])
        opset = [onnx.helper.make_opsetid("", 20)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)

    monkeypatch.setattr(onnx_export, "_write", write_another)
    refused(small, tmp_path / "mine.onnx", WeightsError, r"differ from PyTorch's by up to \d+")
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named_before_anything_is_exported(small, tmp_path, monkeypatch):
    refused(small, tmp_path / "none" / "mine.onnx", FileNotFoundError, "no folder .*none")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused(small, tmp_path / "mine.onnx", ModuleNotFoundError, r"pip install .*\[onnx\]")
