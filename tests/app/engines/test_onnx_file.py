"""Face restorers as ONNX files: ours, and small ones made here in the shapes others have."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from app.engines.build import build_reference, prepare
from app.engines.cache import EngineCache
from app.engines.candidates import Candidate, candidates
from app.engines.engine import Engine, EngineError
from app.engines.onnx_file import FIDELITY, described, read_onnx
from app.engines.onnxruntime_engine import OnnxRuntimeEngine
from app.engines.torch_engine import TorchEngine
from model.checkpoints.generator import load_generator
from model.checkpoints.lookup import resolve
from model.checkpoints.onnx_export import save_onnx
from model.state_dicts import WeightsError

CPU = torch.device("cpu")
SIZE = 32
SMALL = 64  # of the small generator
FLOAT, HALF, DOUBLE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE
PICTURE = [1, 3, SIZE, SIZE]


@pytest.fixture(scope="session")
def exported(weights, tmp_path_factory) -> Path:
    """The small generator, by our own export."""
    path: Path = tmp_path_factory.mktemp("onnx") / "exported.onnx"
    generator, metadata = load_generator(weights)
    assert metadata is not None
    save_onnx(generator, metadata, path)
    return path


def save(path: Path, nodes, inputs, outputs) -> Path:
    """An ONNX file from nodes; inputs and outputs are names with types and shapes."""
    graph = helper.make_graph(
        nodes,
        "restorer",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def negative(path: Path, *, kind: int = FLOAT, shape=PICTURE) -> Path:
    """Returns the negative of the picture."""
    nodes = [helper.make_node("Neg", ["image"], ["restored"])]
    return save(path, nodes, [("image", kind, shape)], [("restored", kind, shape)])


def engines(path: Path, folder: Path) -> list[Engine]:
    """OpenVINO's and ONNX Runtime's, in float32."""
    cache = EngineCache.of(path, folder, CPU)
    return [build_reference(path, cache), OnnxRuntimeEngine(path, CPU)]


def test_our_own_export_restores_as_pytorch_does(exported, weights, crops, tmp_path):
    expected = TorchEngine(load_generator(weights)[0], CPU)(crops).astype(int)
    for engine in engines(exported, tmp_path):
        assert engine.size == crops.shape[1]
        assert np.abs(engine(crops) - expected).max() <= 2


@pytest.mark.parametrize("kind", [FLOAT, HALF])
@pytest.mark.parametrize("batch", [1, "N"])
def test_a_batch_may_be_fixed_and_numbers_halves(kind, batch, tmp_path):
    path = negative(tmp_path / "x.onnx", kind=kind, shape=[batch, *PICTURE[1:]])
    crops = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    for engine in engines(path, tmp_path):
        restored = engine(crops)
        assert restored.dtype == np.uint8
        assert np.abs(restored.astype(int) - (255 - crops)).max() <= 1


@pytest.mark.parametrize(("kind", "shape"), [(FLOAT, []), (DOUBLE, [1]), (FLOAT, [1, 1])])
def test_a_second_input_is_given_a_constant(kind, shape, tmp_path):
    """As CodeFormer's weight; other outputs are not looked at."""
    nodes = [
        helper.make_node("Cast", ["weight"], ["w"], to=FLOAT),
        helper.make_node("Mul", ["image", "w"], ["restored"]),
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
    ]
    inputs = [("image", FLOAT, PICTURE), ("weight", kind, shape)]
    outputs = [("mean", FLOAT, []), ("restored", FLOAT, [1, 3, SIZE, SIZE])]
    path = save(tmp_path / "codeformer.onnx", nodes, inputs, outputs)
    crops = np.full((2, SIZE, SIZE, 3), 255, np.uint8)
    for engine in engines(path, tmp_path):
        assert np.all(engine(crops) == round(127.5 * (1 + FIDELITY)))


@pytest.mark.parametrize(
    "shape", [[1, 1, SIZE, SIZE], [1, 3, SIZE, 2 * SIZE], [2, 3, SIZE, SIZE], [1, 3, "H", "W"]]
)
def test_other_networks_are_refused(shape, tmp_path):
    path = negative(tmp_path / "other.onnx", shape=shape)
    with pytest.raises(WeightsError, match=r"other.onnx is no face restorer: its inputs are image"):
        read_onnx(path)


def test_an_output_of_another_size_and_a_second_picture_are_refused(tmp_path):
    nodes = [helper.make_node("MaxPool", ["image"], ["half"], kernel_shape=[2, 2], strides=[2, 2])]
    half = [("half", FLOAT, [1, 3, SIZE // 2, SIZE // 2])]
    path = save(tmp_path / "half.onnx", nodes, [("image", FLOAT, PICTURE)], half)
    with pytest.raises(WeightsError, match="its outputs half"):
        read_onnx(path)
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"])]
    inputs = [(name, FLOAT, PICTURE) for name in "ab"]
    path = save(tmp_path / "two.onnx", nodes, inputs, [("sum", FLOAT, PICTURE)])
    with pytest.raises(WeightsError, match=r"inputs are a .*, b "):
        read_onnx(path)


@pytest.mark.parametrize("content", [b"", b"no protobuf" * 100])
def test_a_file_that_is_not_onnx_is_refused(content, tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"broken\.onnx"):
        read_onnx(path)


def test_an_output_that_is_not_finite_is_an_error(tmp_path):
    nodes = [helper.make_node("Log", ["image"], ["restored"])]
    ports = [("image", FLOAT, PICTURE)], [("restored", FLOAT, PICTURE)]
    path = save(tmp_path / "nan.onnx", nodes, *ports)
    for engine in engines(path, tmp_path):
        with pytest.raises(FloatingPointError):
            engine(np.zeros((1, SIZE, SIZE, 3), np.uint8))


def test_name_licence_and_template_are_those_it_states_if_it_is_ours(exported, tmp_path):
    ours = described(resolve(str(exported), tmp_path, tmp_path))
    assert (ours.name, ours.licence, ours.template) == ("small", "none", "gpen")
    path = negative(tmp_path / "gfpgan_1.4.onnx")
    other = described(resolve(str(path), tmp_path, tmp_path))
    assert (other.name, other.licence, other.template) == ("gfpgan_1.4", "unknown", "ffhq")


def test_its_engines_are_measured_like_those_of_other_weights(exported, tmp_path):
    cache = EngineCache.of(exported, tmp_path, CPU)
    wanted = candidates(CPU, onnx=True)
    measurements = prepare(exported, cache, wanted)
    assert [Candidate(m.engine, m.precision) for m in measurements] == wanted
    assert {m.engine for m in measurements} == {"openvino"}
    assert measurements[0].psnr == 99


def test_a_conversion_that_cannot_be_read_is_replaced(exported, crops, tmp_path):
    cache = EngineCache.of(exported, tmp_path, CPU)
    expected = build_reference(exported, cache)(crops)
    cache.converted.write_text("no graph")
    assert np.array_equal(build_reference(exported, cache)(crops), expected)
    assert cache.converted.read_text() != "no graph"


def test_a_conversion_is_read_from_a_cache_that_cannot_be_written(exported, tmp_path, monkeypatch):
    cache = EngineCache.of(exported, tmp_path, CPU)

    def refuse(*_: object) -> None:
        raise OSError("Read-only file system")

    monkeypatch.setattr(EngineCache, "_make_folder", refuse)
    with pytest.raises(EngineError, match=r"cannot be converted into .*Read-only file system"):
        build_reference(exported, cache)
    monkeypatch.undo()
    build_reference(exported, cache)
    monkeypatch.setattr(EngineCache, "_make_folder", refuse)
    assert build_reference(exported, cache).size == SMALL


def test_pytorch_cannot_run_it():
    with pytest.raises(EngineError, match="only openvino fp32"):
        candidates(CPU, "torch", onnx=True)


def test_on_a_gpu_it_takes_onnx_runtime_for_cuda(monkeypatch):
    gpu = torch.device("cuda", 1)
    with pytest.raises(EngineError, match="pip install onnxruntime-gpu"):
        candidates(gpu, onnx=True)
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    assert candidates(gpu, onnx=True) == [Candidate("onnxruntime", "fp32")]
