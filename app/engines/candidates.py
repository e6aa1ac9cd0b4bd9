"""Which engines and precisions can run on this machine, and which of them is used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from app.engine_names import EngineName, Precision
from app.engines.engine import EngineError

log = logging.getLogger(__name__)

FAITHFUL_DB = 45.0
"""PSNR against float32 PyTorch from which on a difference is invisible."""


@dataclass(frozen=True)
class Candidate:
    engine: EngineName
    precision: Precision


REFERENCE = Candidate("torch", "fp32")
"""What other engines are compared with, and what serves before they are prepared."""


class Measurement(BaseModel):
    """The speed and precision of a candidate, on one machine with one generator."""

    model_config = ConfigDict(frozen=True)

    engine: EngineName
    precision: Precision
    milliseconds: float
    """For a batch of one face."""
    psnr: float
    """Against float32 PyTorch, in dB."""


def candidates(
    device: torch.device,
    engine: EngineName | Literal["auto"] = "auto",
    precision: Precision | Literal["auto"] = "auto",
    *,
    onnx: bool = False,
) -> list[Candidate]:
    """What the device can run and the settings allow; ``onnx``: for a generator that is an ONNX
    file.  Raises EngineError if that is nothing.
    """
    of_device = _on_cuda if device.type == "cuda" else _on_cpu
    possible = _of_onnx(device) if onnx else of_device()
    allowed = [
        candidate
        for candidate in possible
        if engine in ("auto", candidate.engine) and precision in ("auto", candidate.precision)
    ]
    if not allowed:
        available = ", ".join(f"{candidate.engine} {candidate.precision}" for candidate in possible)
        raise EngineError(
            f"engine {engine} with precision {precision} is not available here, only {available}"
        )
    return allowed


def reference(device: torch.device, *, onnx: bool) -> Candidate:
    """The most faithful candidate for a device, which needs no measurements."""
    if not onnx:
        return REFERENCE
    return Candidate("onnxruntime" if device.type == "cuda" else "openvino", "fp32")


def _of_onnx(device: torch.device) -> list[Candidate]:
    """OpenVINO on a CPU, and ONNX Runtime on a GPU, where it must have been built for CUDA."""
    if device.type == "cpu":
        return [candidate for candidate in _on_cpu() if candidate.engine == "openvino"]
    if find_spec("onnxruntime") is not None:
        import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415

        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            return [reference(device, onnx=True)]
    raise EngineError("an ONNX file on a GPU needs ONNX Runtime: pip install onnxruntime-gpu")


def _on_cuda() -> list[Candidate]:
    half: list[Precision] = ["fp16", "bf16"] if torch.cuda.is_bf16_supported() else ["fp16"]
    return [REFERENCE, *(Candidate("torch", precision) for precision in half)]


def _on_cpu() -> list[Candidate]:
    possible = [REFERENCE]
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        possible.append(Candidate("torch", "bf16"))
    if find_spec("openvino") is not None:
        from app.engines.openvino_engine import precisions  # noqa: PLC0415  (may be missing)

        possible += [Candidate("openvino", precision) for precision in precisions()]
    return possible


def choose(wanted: Sequence[Candidate], measurements: Sequence[Measurement]) -> Measurement | None:
    """The fastest candidate of at least FAITHFUL_DB; if there is none, the most precise one.

    The latter is logged as a warning.  None if no candidate in ``wanted`` was measured.
    """
    measured = [m for m in measurements if Candidate(m.engine, m.precision) in wanted]
    faithful = [m for m in measured if m.psnr >= FAITHFUL_DB]
    if faithful:
        return min(faithful, key=lambda m: m.milliseconds)
    if not measured:
        return None
    best = max(measured, key=lambda m: m.psnr)
    log.warning(
        "engine %s with precision %s is only %.1f dB from float32 (%.0f dB is invisible)",
        best.engine,
        best.precision,
        best.psnr,
        FAITHFUL_DB,
    )
    return best
