"""Reading state dicts from files."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

_NESTED = ("g_ema", "params_ema", "params")  # GPEN's training; basicsr's, averaged and as it was


class WeightsError(ValueError):
    """A file that holds no network this code can load; the message says why."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """State dict of any network, on the CPU.  Raises WeightsError."""
    if path.suffix == ".safetensors":
        with readable(path):
            return load_file(path)
    with readable(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
    for key in _NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict, nor one under {', '.join(_NESTED)}")
    return state


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises WeightsError for whatever is raised while a file is read in this context."""
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # unpickling a broken file raises nearly anything
        raise WeightsError(f"{path} cannot be read: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """PyTorch's messages run over many lines; the first few hundred characters say enough."""
    return textwrap.shorten(str(error), 300) or type(error).__name__
