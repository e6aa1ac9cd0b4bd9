from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoints.generator import WeightsMetadata, load_generator, save_generator
from model.networks import Architecture, FullGenerator

SIZE = 64


def save_small_generator(path: Path, seed: int = 0) -> Path:
    """Weights of a generator that is converted within seconds."""
    torch.manual_seed(seed)
    architecture = Architecture(size=SIZE, channel_multiplier=1, narrow=0.125)
    generator = architecture.generator()
    state = {
        name: value if name.endswith("kernel") else value + 0.1 * torch.randn_like(value)
        for name, value in generator.state_dict().items()
    }
    metadata = WeightsMetadata(
        name="small", architecture=architecture, template="gpen", licence="none", training="none"
    )
    save_generator(state, metadata, path)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    return save_small_generator(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="session")
def generator(weights) -> FullGenerator:
    return load_generator(weights)[0]


@pytest.fixture(scope="session")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
