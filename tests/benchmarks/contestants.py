"""Who is compared in ``tests.benchmarks.engine``: each restores crops, bytes to bytes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from app.engine_names import Precision
from app.engines.build import build
from app.engines.cache import EngineCache
from app.engines.candidates import candidates
from app.engines.engine import Crops
from app.engines.samples import sample_crops
from model.networks import Architecture, FullGenerator
from tests.benchmarks import published
from tests.benchmarks.train_step import shake

Restore = Callable[[Crops], Crops]

PUBLISHED, ONNX_RUNTIME = "published fp32", "onnxruntime fp32"
REFERENCE = "torch fp32"
NO_ONNX_RUNTIME = "ONNX Runtime is left out: it is not installed (pip install onnxruntime onnx)"
_HALF = 127.5
_BRIGHTEST = 0.9


@dataclass(frozen=True)
class Contestant:
    name: str
    precision: Precision
    restore: Restore


def random_generator(architecture: Architecture, seed: int = 0) -> FullGenerator:
    """With random weights, its pictures between black and white: levels that were cut off would
    hide what contestants differ in."""
    torch.manual_seed(seed)
    generator = architecture.generator().eval().requires_grad_(False)
    shake(generator)
    with torch.inference_mode():
        brightest = generator(_scaled(sample_crops(generator.size))).abs().max()
    prior = generator.generator
    for to_rgb in (prior.to_rgb1, *prior.to_rgbs):
        for parameter in (to_rgb.conv.weight, to_rgb.bias):
            parameter.mul_(_BRIGHTEST / brightest)
    return generator


def contestants(
    generator: FullGenerator, device: torch.device, cache_dir: Path
) -> list[Contestant]:
    """All that can run on the device, the published formulation first."""
    cache = _cache(generator, device, cache_dir)
    others: list[Contestant] = []
    if device.type == "cpu" and find_spec("onnxruntime") and find_spec("onnx"):
        restore = _onnx_runtime(_exported(generator, cache.folder), torch.get_num_threads())
        others.append(Contestant(ONNX_RUNTIME, "fp32", restore))
    for candidate in candidates(device):
        if candidate.engine == "openvino" and not cache.converted.exists():
            from app.engines.openvino_engine import convert

            convert(generator, cache.converted)
        engine = build(candidate, Path(), cache, generator)
        name = f"{candidate.engine} {candidate.precision}"
        others.append(Contestant(name, candidate.precision, engine))
    return [Contestant(PUBLISHED, "fp32", _published(generator, device)), *others]


def _cache(generator: FullGenerator, device: torch.device, cache_dir: Path) -> EngineCache:
    """As for any weights; these are told from others by a file that is written anew each time."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    weights = cache_dir / f"random-{generator.size}.pth"
    torch.save(generator.state_dict(), weights)
    cache = EngineCache.of(weights, cache_dir, device)
    cache.folder.mkdir(parents=True, exist_ok=True)
    return cache


def _as_published(generator: FullGenerator) -> FullGenerator:
    copy = Architecture.from_state_dict(generator.state_dict()).generator()
    copy.load_state_dict(generator.state_dict())
    published.publish(copy)
    return copy.eval().requires_grad_(False)


def _published(generator: FullGenerator, device: torch.device) -> Restore:
    network = _as_published(generator).to(device)

    @torch.inference_mode()
    def restore(crops: Crops) -> Crops:
        return _levels(network(_scaled(crops).to(device)).cpu().numpy())

    return restore


def _exported(generator: FullGenerator, folder: Path) -> Path:
    """The published formulation as ONNX, for one face: that is how such models are passed around.

    Its weights belong to a face, as groups of one convolution, so the batch is part of the graph.
    """
    digest = hashlib.sha256(Path(published.__file__).read_bytes()).hexdigest()[:16]
    path = folder / f"published-{digest}.onnx"
    if path.exists():
        return path
    from torch.fx.experimental.proxy_tensor import make_fx

    face = _scaled(sample_crops(generator.size)[:1])
    graph = make_fx(_as_published(generator))(face)  # in it all shapes are constants
    made = path.with_suffix(".part")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated, the new one brings a package
        torch.onnx.export(
            graph, (face,), made, dynamo=False, input_names=["input"], output_names=["output"]
        )
    made.replace(path)
    return path


def _onnx_runtime(path: Path, threads: int) -> Restore:
    """A face at a time, since the graph takes one."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def restore(crops: Crops) -> Crops:
        # without PyTorch, whose threads would go on waiting for more, busily
        x = crops.transpose(0, 3, 1, 2) / np.float32(_HALF) - 1
        faces = [session.run(None, {"input": face})[0] for face in np.split(x, len(x))]
        return _levels(np.concatenate(faces))

    return restore


def _scaled(crops: Crops) -> torch.Tensor:
    """(N, 3, size, size) in [-1, 1]."""
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous().float() / _HALF - 1


def _levels(pictures: np.ndarray) -> Crops:
    levels = np.rint((pictures + 1) * _HALF).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))
