import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.evaluation.niqe import niqe

from basicsr.metrics.niqe import calculate_niqe  # isort: skip


def to_tensor(*pictures: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.fixture(scope="module")
def face(astronaut) -> NDArray[np.uint8]:
    """(256, 256, 3)."""
    return np.asarray(astronaut[:256, 100:356], np.uint8)


def test_it_is_basicsrs_of_the_blocks_in_the_middle(face, astronaut):
    values = niqe(to_tensor(face, astronaut[256:, 256:]))
    middle = np.ascontiguousarray(face[32:224, 32:224, ::-1])  # BGR
    assert values.shape == (2,)
    assert values[0].item() == pytest.approx(calculate_niqe(middle, 0), rel=1e-6)
    assert values[0] != values[1]


def test_worse_pictures_have_more(face):
    noise = np.random.default_rng(0).normal(0, 20, face.shape)
    noisy = (face + noise).clip(0, 255).astype(np.uint8)
    small = cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA)
    blurred = np.asarray(cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC), np.uint8)
    blocky = cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], 1)
    assert blocky is not None
    sharp, *worse = niqe(to_tensor(face, noisy, blurred, np.asarray(blocky, np.uint8)))
    assert 0 < sharp < min(worse)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_there_is_none_of_a_flat_picture(face, level):
    values = niqe(to_tensor(np.full_like(face, level), face))
    assert torch.isnan(values).tolist() == [True, False]


def test_a_picture_smaller_than_a_block_is_refused(face):
    with pytest.raises(ValueError, match="96 pixels"):
        niqe(to_tensor(face[:95, :95]))
    assert torch.isnan(niqe(to_tensor(face[:96, :96]))).all()
