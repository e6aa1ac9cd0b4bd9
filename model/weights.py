"""Reading and writing the weights of a generator, ours and the published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.networks import Architecture, FullGenerator


class WeightsError(ValueError):
    """A file that holds no generator this code can load; the message says why."""


class WeightsMetadata(BaseModel):
    """What one of our weight files says of itself (safetensors metadata)."""

    model_config = ConfigDict(frozen=True)

    name: str
    architecture: Architecture
    template: str
    licence: str
    training: str


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
        raise WeightsError(f"{path}: {error}") from error
    return generator.eval().requires_grad_(False), metadata


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], WeightsMetadata | None]:
    """State dict of a generator, and its metadata if the file is ours.  Raises WeightsError."""
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # unpickling a broken file raises nearly anything
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if isinstance(state, dict) and "g_ema" in state:
        state = state["g_ema"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict, nor one under g_ema")
    return state, None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], WeightsMetadata]:
    with safe_open(path, framework="pt") as file:
        metadata = WeightsMetadata.model_validate_json((file.metadata() or {}).get("gpen", "{}"))
        return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118


def save_generator(state: Mapping[str, Tensor], metadata: WeightsMetadata, path: Path) -> None:
    """Write a generator in float16 with its metadata, under the key ``gpen``, as JSON."""
    half = {key: value.detach().cpu().half().contiguous() for key, value in state.items()}
    save_file(half, path, {"gpen": json.dumps(metadata.model_dump(mode="json"))})
