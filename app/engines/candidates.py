"""Which engines and precisions may run a generator here, and which of them does."""

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
"""PSNR from float32 PyTorch above which the difference is of no interest."""


@dataclass(frozen=True)
class Candidate:
    engine: EngineName
    precision: Precision


REFERENCE = Candidate("torch", "fp32")


class Measurement(BaseModel):
    """What was seen of a candidate, on one machine with one generator."""

    model_config = ConfigDict(frozen=True)

    engine: EngineName
    precision: Precision
    milliseconds: float
    """A face, alone."""
    psnr: float
    """From float32 PyTorch, in dB."""


def candidates(
    device: torch.device,
    engine: EngineName | Literal["auto"] = "auto",
    precision: Precision | Literal["auto"] = "auto",
) -> list[Candidate]:
    """What can run on the device, of what is wanted.  Raises EngineError when that is nothing."""
    possible = _on_cuda() if device.type == "cuda" else _on_cpu()
    wanted = [
        candidate
        for candidate in possible
        if engine in ("auto", candidate.engine) and precision in ("auto", candidate.precision)
    ]
    if not wanted:
        there = ", ".join(f"{candidate.engine} {candidate.precision}" for candidate in possible)
        raise EngineError(f"engine {engine} with precision {precision} is not to be had: {there}")
    return wanted


def _on_cuda() -> list[Candidate]:
    half: list[Precision] = ["fp16", "bf16"] if torch.cuda.is_bf16_supported() else ["fp16"]
    return [REFERENCE, *(Candidate("torch", precision) for precision in half)]


def _on_cpu() -> list[Candidate]:
    found = [REFERENCE]
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        found.append(Candidate("torch", "bf16"))
    if find_spec("openvino") is not None:
        from app.engines.openvino_engine import precisions  # noqa: PLC0415

        found += [Candidate("openvino", precision) for precision in precisions()]
    return found


def choose(wanted: Sequence[Candidate], measurements: Sequence[Measurement]) -> Measurement | None:
    """The fastest of the faithful; where none is, the most faithful, with a warning.

    None when none of them was measured.
    """
    measured = [m for m in measurements if Candidate(m.engine, m.precision) in wanted]
    faithful = [m for m in measured if m.psnr >= FAITHFUL_DB]
    if faithful:
        return min(faithful, key=lambda m: m.milliseconds)
    if not measured:
        return None
    best = max(measured, key=lambda m: m.psnr)
    log.warning(
        "engine %s with precision %s is only %.1f dB from float32 (%.0f dB would not be seen)",
        best.engine,
        best.precision,
        best.psnr,
        FAITHFUL_DB,
    )
    return best
