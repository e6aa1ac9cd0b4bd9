import pytest
from torch import nn

from app.serving.load import Loaded, load
from app.settings import Settings


@pytest.fixture(scope="session")
def loaded() -> Loaded:
    """The bundled generator, and the detector."""
    return load(Settings(model="gpen-starter-256"))


@pytest.fixture(scope="session")
def detector(loaded: Loaded) -> nn.Module:
    return loaded.detector
