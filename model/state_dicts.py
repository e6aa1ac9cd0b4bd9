"""Reading state dicts from files."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

PUBLISHED = ("g_ema", "params_ema", "params")
"""Keys of the weights in published files: GPEN's; basicsr's, averaged and not."""

_PARALLEL = "module."  # which DataParallel puts before every name


class WeightsError(ValueError):
    """A file that holds no network this code can load; the message says why."""


def read_tensors(path: Path, entries: Sequence[str] = PUBLISHED) -> dict[str, Tensor]:
    """State dict of any network, on the CPU, under the network's own names.

    Takes ``.safetensors``, a pickled state dict, or a pickled dict that holds one under one of
    ``entries``: the first that is there.  Raises WeightsError.
    """
    with readable(path):
        document: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    if isinstance(document, dict):
        nested = (document[entry] for entry in entries if isinstance(document.get(entry), dict))
        document = next(nested, document)
    if not _is_state_dict(document):
        raise WeightsError(f"{path} holds no state dict, nor one under {', '.join(entries)}")
    return {name.removeprefix(_PARALLEL): tensor for name, tensor in document.items()}


def _is_state_dict(document: object) -> bool:
    return isinstance(document, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in document.items()
    )


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
