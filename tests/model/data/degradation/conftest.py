import cv2
import numpy as np
import pytest
import skimage.data

from model.data.degradation import FloatImage
from model.data.degradation.operations import to_float


@pytest.fixture(scope="session")
def image() -> FloatImage:
    """A face: (96, 96, 3) RGB in [0, 1]."""
    crop = skimage.data.astronaut()[0:200, 120:320]
    resized = cv2.resize(crop, (96, 96), interpolation=cv2.INTER_AREA)
    return to_float(resized.astype(np.uint8))


@pytest.fixture(scope="session")
def tall() -> FloatImage:
    """A strip of a picture (512, 96, 3) RGB in [0, 1]: ranges are for its height."""
    return to_float(skimage.data.astronaut()[:, 180:276])
