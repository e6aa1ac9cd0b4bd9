"""Reads and writes weights of generators, in our format and the published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from model.networks import Architecture, FullGenerator
from model.state_dicts import WeightsError, one_line, read_tensors, readable

METADATA_KEY = "gpen"
"""Key of the metadata, as JSON, in our files."""


class WeightsMetadata(BaseModel):
    """The metadata of our weights files."""

    model_config = ConfigDict(frozen=True)

    name: str
    architecture: Architecture
    template: str
    licence: str
    training: str


def is_onnx(path: Path) -> bool:
    """Whether a file of weights is an ONNX file, by its name."""
    return path.suffix == ".onnx"


def load_generator(path: Path) -> tuple[FullGenerator, WeightsMetadata | None]:
    """Load a generator in float32 on the CPU, in evaluation mode, without gradients.

    Takes our ``.safetensors`` and the published ``.pth``/``.pt`` (a plain state dict, or one under
    ``g_ema``).  The architecture is deduced from the weights.  Raises WeightsError.
    """
    state, metadata = read_state_dict(path)
    try:
        generator = Architecture.from_state_dict(state).generator()
        generator.load_state_dict({key: value.float() for key, value in state.items()})
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: {one_line(error)}") from error
    return generator.eval().requires_grad_(False), metadata


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], WeightsMetadata | None]:
    """State dict of a generator, and its metadata if it has any.  Raises WeightsError."""
    return read_tensors(path), read_metadata(path)


def read_metadata(path: Path) -> WeightsMetadata | None:
    """Metadata of a file, without reading its tensors; None if it has none.

    Raises WeightsError.
    """
    if path.suffix != ".safetensors":
        return None
    with readable(path), safe_open(path, framework="pt") as file:
        stated = (file.metadata() or {}).get(METADATA_KEY)
        return None if stated is None else WeightsMetadata.model_validate_json(stated)


def save_generator(state: Mapping[str, Tensor], metadata: WeightsMetadata, path: Path) -> None:
    """Write a generator in float16 with its metadata, under the key ``gpen``, as JSON.

    Raises OSError.
    """
    half = {key: value.detach().cpu().half().contiguous() for key, value in state.items()}
    content = save(half, {METADATA_KEY: json.dumps(metadata.model_dump(mode="json"))})
    path.write_bytes(content)  # safetensors' save_file makes files that only the owner can read
