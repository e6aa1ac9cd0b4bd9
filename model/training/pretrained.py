"""Loads initial weights for training from several kinds of file.

A generator may be whole, or only its GAN prior (names that begin with ``generator.``, or the same
names without that prefix): the paper trains the prior first, then embeds it and fine-tunes the
whole (GPEN, section 3).  Tensors that a file does not have keep their initial values.  A whole
generator of half the size is grown.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from model.checkpoints.named import weights_file
from model.networks import Discriminator, FullGenerator
from model.networks.growing import grown, is_half_as_large
from model.state_dicts import WeightsError, read_tensors

log = logging.getLogger(__name__)

_PRIOR = "generator."
_BLOCKS, _HEADS = "convs.", "heads."  # prefixes of names in the two kinds of discriminator
_AVERAGES = ("g_ema", "params_ema")
_SHOWN = 4


@dataclass(frozen=True)
class Loaded:
    """Names of tensors: which were loaded, which are missing, and which are unused."""

    loaded: list[str]
    missing: list[str]
    """Tensors of the network that the file does not have."""
    unused: list[str]
    """Tensors of the file that the network does not have."""

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing)
        parts = [f"{len(self.loaded)} of {total} tensors loaded"]
        if self.missing:
            parts.append(f"not in the file, left as initialised: {_some(self.missing)}")
        if self.unused:
            parts.append(f"not in the network, ignored: {_some(self.unused)}")
        return "; ".join(parts)


def load_initial_generator(generator: FullGenerator, path: Path) -> Loaded:
    """Load a generator, or a prior, in place; the log says what was loaded and what was not.

    ``path`` may be a name that ``gpen weights list`` shows.  Raises WeightsError if the file has no
    generator, or one of another architecture.
    """
    path = weights_file(path)
    state = read_tensors(path, (*_AVERAGES, "g"))
    own = generator.state_dict()
    if not state.keys() & own.keys():  # a prior without the prefix
        state = {_PRIOR + key: value for key, value in state.items()}
    if is_half_as_large(state, generator):
        log.info("growing to %d px", generator.size)
        state = grown(state, generator)
    return _load(generator, state, path, "generator", _PRIOR)


def load_initial_discriminator(discriminator: nn.Module, path: Path) -> Loaded:
    """Load a discriminator in place; the log says what was loaded and what was not.

    ``path`` may be a name that ``gpen weights list`` shows.  Raises WeightsError if the file has no
    discriminator, or one of another architecture.
    """
    path = weights_file(path)
    core = _BLOCKS if isinstance(discriminator, Discriminator) else _HEADS
    return _load(discriminator, read_tensors(path, ("d",)), path, "discriminator", core)


def _load(
    network: nn.Module, state: Mapping[str, Tensor], path: Path, name: str, core: str
) -> Loaded:
    own = network.state_dict()
    fits = {key: value for key, value in state.items() if key in own}
    if not any(key.startswith(core) for key in fits):  # both networks have a ``final_linear``
        raise WeightsError(f"{path} has no weights of a {name}")
    for key, value in fits.items():
        if value.shape != own[key].shape:
            raise WeightsError(
                f"{path} is of another architecture: {key} is {tuple(value.shape)}, "
                f"not {tuple(own[key].shape)}"
            )
    network.load_state_dict({key: value.float() for key, value in fits.items()}, strict=False)
    result = Loaded(
        loaded=sorted(fits), missing=sorted(own.keys() - fits), unused=sorted(state.keys() - own)
    )
    log.info("%s from %s: %s", name, path, result)
    return result


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
