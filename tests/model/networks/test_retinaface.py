"""The detector's network: weights, conversion, anchors, outputs."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file, save_file
from torch import nn

from model.networks import retinaface
from model.networks.retinaface import Candidates, InBfloat16, load_detector
from model.state_dicts import WeightsError

from facexlib.detection.retinaface import RetinaFace  # isort: skip
from facexlib.detection.retinaface_utils import PriorBox, decode, decode_landm  # isort: skip

WEIGHTS = Path(__file__).parents[3] / "weights"
BUNDLED = WEIGHTS / "retinaface-mobilenet0.25.safetensors"
MEAN = np.array([104, 117, 123], np.float32)  # BGR


@pytest.fixture(scope="module")
def detector() -> nn.Module:
    return load_detector(BUNDLED)


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_conversion_reproduces_the_bundled_file(tmp_path):
    output = tmp_path / "detector.safetensors"
    subprocess.run([sys.executable, WEIGHTS / "convert_detector.py", output], check=True)
    assert output.read_bytes() == BUNDLED.read_bytes()


def test_the_network_agrees_with_the_graph_it_is_converted_from(detector, astronaut):
    from retinaface.weights import WEIGHTS as ONNX_GRAPH

    # 96 is no multiple of 64: the neck's upsampling is not the same in both directions
    patch = astronaut[40:168, 170:266, ::-1].astype(np.float32) - MEAN
    x = patch.transpose(2, 0, 1)[None]
    expected = ReferenceEvaluator(onnx.load_model_from_string(ONNX_GRAPH)).run(None, {"input": x})
    with torch.inference_mode():
        outputs = detector(torch.from_numpy(x))
    assert expected[1][..., 1].max() > 0.9
    for output, value in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output.numpy(), value, atol=1e-4)


def test_norms_are_part_of_the_convolutions(detector):
    assert not norms(detector)


def test_anchors_are_facexlibs(detector):
    height, width = 64, 160
    theirs = PriorBox(detector.cfg, image_size=(height, width)).forward().numpy()
    theirs = theirs * [width, height, width, height]
    ours = retinaface.anchors(height, width)
    np.testing.assert_allclose(ours[:, [0, 1, 2, 2]], theirs, rtol=1e-5)


def test_outputs_are_decoded_as_by_facexlib(detector, astronaut):
    image = astronaut[:256, 128:384]
    (found,) = retinaface.run(detector, [image], 0.5)
    x = image[..., ::-1].astype(np.float32) - MEAN
    with torch.inference_mode():
        boxes, scores, landmarks = detector(torch.from_numpy(x.transpose(2, 0, 1)[None].copy()))
    prior = PriorBox(detector.cfg, image_size=image.shape[:2]).forward()
    order = torch.argsort(scores[0, :, 1], descending=True)[: len(found.scores)]
    assert len(order) > 5
    np.testing.assert_allclose(found.scores, scores[0, order, 1], atol=1e-6)
    boxes = decode(boxes[0], prior, [0.1, 0.2])[order] * 256
    np.testing.assert_allclose(found.boxes, boxes, atol=0.01)
    landmarks = decode_landm(landmarks[0], prior, [0.1, 0.2])[order] * 256
    np.testing.assert_allclose(found.landmarks.reshape(-1, 10), landmarks, atol=0.01)


def test_in_bfloat16_faces_are_where_they_are(detector, astronaut):
    (exact,) = retinaface.run(detector, [astronaut], 0.9)
    (quick,) = retinaface.run(InBfloat16(detector), [astronaut], 0.9)
    assert not np.array_equal(exact.landmarks[0], quick.landmarks[0])
    eyes = np.linalg.norm(exact.landmarks[0, 0] - exact.landmarks[0, 1])
    best = exact.landmarks.mean(0) - quick.landmarks.mean(0)
    assert np.abs(best).max() < 0.02 * eyes
    assert abs(float(exact.scores.max() - quick.scores.max())) < 0.01


def test_candidates_over_the_threshold_only_best_first(detector, astronaut):
    (found,) = retinaface.run(detector, [astronaut], 0.7)
    (more,) = retinaface.run(detector, [astronaut], 0.3)
    assert len(more.scores) > len(found.scores) > 0
    assert found.scores.min() >= 0.7
    assert (np.diff(found.scores) <= 0).all()


def test_candidates_that_agree_are_averaged():
    boxes = np.array([[10, 10, 50, 50], [12, 8, 52, 48], [18, 18, 58, 58]], np.float32)
    landmarks = np.arange(3, dtype=np.float32)[:, None, None] + np.zeros((5, 2), np.float32)
    candidates = Candidates(boxes, np.array([0.9, 0.95, 0.99], np.float32), landmarks)
    box, points = candidates.voted(0)
    assert box.tolist() == [11, 9, 51, 49]
    assert points.tolist() == [[0.5, 0.5]] * 5
    assert candidates.voted(2)[0].tolist() == boxes[2].tolist()


def test_far_and_infinite_outputs_are_dropped():
    class Garbage(nn.Module):
        """All anchors are faces; the first three are at infinity, of infinite size, nowhere."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            count = len(retinaface.anchors(*x.shape[2:]))
            boxes, points = torch.zeros(1, count, 4), torch.zeros(1, count, 10)
            boxes[0, 0, 0], boxes[0, 1, 2], points[0, 2, 5] = torch.inf, 1e9, torch.nan
            return boxes, torch.ones(1, count, 2), points

    image = np.zeros((32, 32, 3), np.uint8)
    (found,) = retinaface.run(Garbage(), [image], 0.5)
    assert len(found.scores) == len(retinaface.anchors(32, 32)) - 3
    assert np.isfinite(found.boxes).all()


def test_published_weights_carry_a_prefix(detector, tmp_path):
    path = tmp_path / "detector.pth"
    torch.save({f"module.{key}": value for key, value in load_file(BUNDLED).items()}, path)
    loaded = load_detector(path)
    for key, value in detector.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.filterwarnings("ignore:The parameter 'pretrained'", "ignore:Arguments other than")
def test_resnet_50(tmp_path):
    torch.manual_seed(0)
    network = RetinaFace("resnet50", device="cpu")
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            nn.init.uniform_(buffer, 0.5, 2)
    path = tmp_path / "RetinaFace-R50.pth"
    torch.save(network.state_dict(), path)
    with warnings.catch_warnings(action="error"):
        loaded = load_detector(path)
    assert not norms(loaded)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for output, expected in zip(loaded(x), network(x), strict=True):
            torch.testing.assert_close(output, expected)
    (found,) = retinaface.run(loaded, [np.zeros((64, 96, 3), np.uint8)], 0.5)
    assert len(found.scores) > 0


@pytest.mark.parametrize("name", ["garbage.safetensors", "garbage.pth"])
def test_garbage_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"no detector at all" * 10)
    with pytest.raises(WeightsError, match=name):
        load_detector(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"detector\.pth.*No such file"):
        load_detector(tmp_path / "detector.pth")
    with pytest.raises(WeightsError, match=r"detector\.safetensors.*No such file"):
        load_detector(tmp_path / "detector.safetensors")


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"body.0.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="does not hold RetinaFace"):
        load_detector(path)


def test_incomplete_weights_are_refused(tmp_path):
    state = load_file(BUNDLED)
    del state["BboxHead.0.conv1x1.bias"]
    path = tmp_path / "incomplete.safetensors"
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"BboxHead\.0\.conv1x1\.bias"):
        load_detector(path)
