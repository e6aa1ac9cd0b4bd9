"""Reading and writing the weights of a generator, ours and the published ones."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from model.networks import Architecture, FullGenerator

_METADATA_KEY = "gpen"
_NESTED = ("g_ema", "params_ema", "params")  # GPEN's training; basicsr's, averaged and as it was


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
        raise WeightsError(f"{path}: {_one_line(error)}") from error
    return generator.eval().requires_grad_(False), metadata


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], WeightsMetadata | None]:
    """State dict of a generator, and its metadata if the file is ours.  Raises WeightsError."""
    return read_tensors(path), read_metadata(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """State dict of any network, on the CPU.  Raises WeightsError."""
    if path.suffix == ".safetensors":
        with _readable(path):
            return load_file(path)
    with _readable(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
    for key in _NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict, nor one under {', '.join(_NESTED)}")
    return state


def read_metadata(path: Path) -> WeightsMetadata | None:
    """What the file says of itself, without reading its tensors; None if it is not one of ours.

    Raises WeightsError.
    """
    if path.suffix != ".safetensors":
        return None
    with _readable(path), safe_open(path, framework="pt") as file:
        stated = (file.metadata() or {}).get(_METADATA_KEY)
        return None if stated is None else WeightsMetadata.model_validate_json(stated)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # unpickling a broken file raises nearly anything
        raise WeightsError(f"{path} cannot be read: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    """PyTorch's messages run over many lines; the first few hundred characters say enough."""
    return textwrap.shorten(str(error), 300) or type(error).__name__


def save_generator(state: Mapping[str, Tensor], metadata: WeightsMetadata, path: Path) -> None:
    """Write a generator in float16 with its metadata, under the key ``gpen``, as JSON.

    Raises OSError.
    """
    half = {key: value.detach().cpu().half().contiguous() for key, value in state.items()}
    content = save(half, {_METADATA_KEY: json.dumps(metadata.model_dump(mode="json"))})
    path.write_bytes(content)  # safetensors' own save_file lets nobody but the owner read it
