"""Names of engines and precisions, in settings, measurements and answers."""

from __future__ import annotations

from typing import Literal

EngineName = Literal["torch", "openvino", "onnxruntime"]
Precision = Literal["fp32", "bf16", "fp16"]
