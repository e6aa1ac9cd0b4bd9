"""The operations of the recipes: blur, resizing, noise and JPEG.

Pictures are (H, W, 3) RGB, float32, nominally in [0, 1].  Parameters come from the caller, and
noise from the generator that is passed in.  The global random state is neither read nor changed.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]

LUMA = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)
RESIZE_MODES = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
"""Interpolations that do not shift the picture."""

_BORDER = cv2.BORDER_REFLECT_101
_DIRECT = 130
"""Taps from which OpenCV uses its own Fourier transform, which is slower than PyTorch's."""
_GAUSSIAN_FROM = 16
"""Expected events from which a Poisson distribution is approximated by a normal one."""


def blur(image: FloatImage, kernel: FloatImage) -> FloatImage:
    """Correlate with a kernel (K, K) of sum 1; borders are mirrored."""
    rows, columns = kernel.sum(1), kernel.sum(0)
    if np.allclose(np.outer(rows, columns), kernel, atol=1e-6):  # ten times faster
        blurred = cv2.sepFilter2D(image, -1, columns, rows, borderType=_BORDER)
    elif kernel.size < _DIRECT:
        blurred = cv2.filter2D(image, -1, kernel, borderType=_BORDER)
    else:
        return _correlate(image, kernel)
    return np.asarray(blurred, dtype=np.float32)


def _correlate(image: FloatImage, kernel: FloatImage) -> FloatImage:
    """:func:`blur` by Fourier transform."""
    height, width = image.shape[:2]
    half = len(kernel) // 2
    padded = cv2.copyMakeBorder(image, half, half, half, half, _BORDER)
    # sizes with small prime factors are fast; wrapping around affects only the padding
    size = [cv2.getOptimalDFTSize(length) for length in padded.shape[:2]]
    planes = torch.from_numpy(padded).permute(2, 0, 1)
    spectrum = torch.fft.rfft2(planes, s=size)
    spectrum *= torch.fft.rfft2(torch.from_numpy(kernel), s=size).conj()
    blurred = torch.fft.irfft2(spectrum, s=size)[:, :height, :width]
    return np.ascontiguousarray(blurred.permute(1, 2, 0).numpy())


def mix_channels(image: FloatImage, matrix: NDArray[np.floating]) -> FloatImage:
    """Multiply every pixel by a matrix (C, 3): (H, W, 3) -> (H, W, C).

    The same as ``image @ matrix.T``, which would start a thread pool in each of the loader's
    workers.
    """
    mixed = cv2.transform(image, matrix.astype(np.float32))
    return np.asarray(mixed, dtype=np.float32).reshape(*image.shape[:2], len(matrix))


def resize(image: FloatImage, height: float, width: float, mode: int) -> FloatImage:
    """Resize to a size rounded to whole pixels; clipped to [0, 1], since bicubic overshoots."""
    size = (max(1, round(width)), max(1, round(height)))
    if size == (image.shape[1], image.shape[0]):
        return image
    return np.clip(cv2.resize(image, size, interpolation=mode), 0, 1)


def add_gaussian_noise(
    image: FloatImage, sigma: float, rng: np.random.Generator, *, grey: bool
) -> FloatImage:
    """Add noise of ``sigma`` 8-bit levels, equal in all channels if ``grey``; clipped to [0, 1]."""
    height, width, channels = image.shape
    shape = (height, width, 1 if grey else channels)
    noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma / 255)
    return np.clip(image + noise, 0, 1)


def add_poisson_noise(
    image: FloatImage, scale: float, rng: np.random.Generator, *, grey: bool
) -> FloatImage:
    """Add ``scale`` times the shot noise of 2^b events at white; clipped to [0, 1].

    b is the number of bits needed to count the picture's different levels.  If ``grey``, all
    channels get the noise of the luma.  This is basicsr's ``generate_poisson_noise``, except that
    pixels with many events use the normal distribution of the same mean and variance, which is five
    times as fast.
    """
    source = mix_channels(image, LUMA) if grey else image
    levels = to_8_bit(source)
    events = 2 ** np.ceil(np.log2(np.count_nonzero(np.bincount(levels.ravel()))))
    expected = levels.astype(np.float32) * np.float32(events / 255)
    noise = rng.standard_normal(expected.shape, dtype=np.float32) * np.sqrt(expected)
    rare = expected < _GAUSSIAN_FROM
    noise[rare] = rng.poisson(expected[rare]) - expected[rare]
    noisy: FloatImage = np.clip(image + noise * np.float32(scale / events), 0, 1)
    return noisy


def jpeg(image: FloatImage, quality: int) -> FloatImage:
    """Encode as JPEG of ``quality`` 0 to 100, and decode.

    basicsr's function passes floats, about which OpenCV 4.14 warns.
    """
    bgr = cv2.cvtColor(to_8_bit(image), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return to_float(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), dtype=np.uint8))


def to_8_bit(image: FloatImage) -> NDArray[np.uint8]:
    """[0, 1] -> 8-bit levels, clipped and rounded; any shape."""
    flat = image.reshape(-1, 1)
    levels = cv2.addWeighted(flat, 255, flat, 0, 0, dtype=cv2.CV_8U)  # clips and rounds
    return np.asarray(levels, dtype=np.uint8).reshape(image.shape)


def to_float(levels: NDArray[np.uint8]) -> FloatImage:
    """8-bit levels -> [0, 1]; any shape."""
    return np.divide(levels, np.float32(255), dtype=np.float32)
