import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from model.data.dataset import evaluation_pairs, to_halves
from model.training.config import Config
from model.training.loading import Batch
from model.training.state import TrainingState

SIZE = 64


@pytest.fixture(scope="session", autouse=True)
def on_the_cpu() -> Iterator[None]:
    """Where results are the same to the bit; and two such networks fit on any machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        yield


@pytest.fixture(scope="session")
def faces() -> NDArray[np.uint8]:
    """Six views of one face: (6, 64, 64, 3) RGB."""
    photo = skimage.data.astronaut()
    corners = [(0, 120), (5, 130), (0, 160), (20, 100), (10, 140), (30, 120)]
    crops = [photo[top : top + 200, left : left + 200] for top, left in corners]
    resized = [cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for crop in crops]
    return np.stack(resized).astype(np.uint8)


@pytest.fixture
def face_folder(faces: NDArray[np.uint8], tmp_path: Path) -> Path:
    """A folder of the same, as 0.png to 5.png."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for i, face in enumerate(faces):
        assert cv2.imwrite(str(folder / f"{i}.png"), face[..., ::-1])
    return folder


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """A configuration whose steps take a tenth of a second; changes to ``train`` as arguments.

    With six faces, an epoch has two steps: 0 to 3 content, 4 and 5 warm-up, 6 to 9 joint.
    """

    def make_config(**changes: Any) -> Config:
        train = {
            "img_size": SIZE,
            "batch_size": 3,
            "content": {"epochs": 2},
            "num_epochs": 3,
            "warmup_epochs": 1,
            "gp_interval": 4,
            "ema_half_life": 20,
            "early_stopping": None,
        }
        return Config.model_validate(
            {
                "train": train | changes,
                "network": {"channel_multiplier": 1, "narrow": 1 / 16},
                "data": {"workers": 0},
            }
        )

    return make_config


@pytest.fixture
def batch(faces: NDArray[np.uint8]) -> Batch:
    return Batch(*to_halves(evaluation_pairs(faces[:3])))


@pytest.fixture
def state(make_config: Callable[..., Config]) -> TrainingState:
    return TrainingState.fresh(make_config())


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Within, writing to a file beyond ``size`` bytes fails as on a full disk.

    It holds for the whole process, and so for pytest's own output: keep it short.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
