"""What the recipes are made of: blur, resizing, noise, JPEG.

Pictures are (H, W, 3) RGB, float32, nominally in [0, 1]; parameters come from the caller, random
fields from the generator passed in.  Nothing here reads or changes the global random state.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]

LUMA = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)
RESIZE_MODES = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
"""All of them keep the picture's centre and borders where they are."""

_BORDER = cv2.BORDER_REFLECT_101
_DIRECT = 130
"""Taps from which on OpenCV takes a Fourier transform of its own, slower than PyTorch's."""
_GAUSSIAN_FROM = 16
"""Events from which on a Poisson distribution is drawn as a normal one."""


def blur(image: FloatImage, kernel: FloatImage) -> FloatImage:
    """Correlate with a kernel (K, K) of sum 1, borders mirrored."""
    rows, columns = kernel.sum(1), kernel.sum(0)
    if np.allclose(np.outer(rows, columns), kernel, atol=1e-6):  # ten times faster
        blurred = cv2.sepFilter2D(image, -1, columns, rows, borderType=_BORDER)
    elif kernel.size < _DIRECT:
        blurred = cv2.filter2D(image, -1, kernel, borderType=_BORDER)
    else:
        return _correlate(image, kernel)
    return np.asarray(blurred, dtype=np.float32)


def _correlate(image: FloatImage, kernel: FloatImage) -> FloatImage:
    """``blur`` by Fourier transform."""
    height, width = image.shape[:2]
    half = len(kernel) // 2
    padded = cv2.copyMakeBorder(image, half, half, half, half, _BORDER)
    # products of small primes are fast, and what is beyond the picture may wrap around
    size = [cv2.getOptimalDFTSize(length) for length in padded.shape[:2]]
    planes = torch.from_numpy(padded).permute(2, 0, 1)
    spectrum = torch.fft.rfft2(planes, s=size)
    spectrum *= torch.fft.rfft2(torch.from_numpy(kernel), s=size).conj()
    blurred = torch.fft.irfft2(spectrum, s=size)[:, :height, :width]
    return np.ascontiguousarray(blurred.permute(1, 2, 0).numpy())


def mix_channels(image: FloatImage, matrix: NDArray[np.floating]) -> FloatImage:
    """Apply a matrix (C, 3) to every pixel: (H, W, C).

    As ``image @ matrix.T``, which would start a pool of threads in each of the loader's workers.
    """
    mixed = cv2.transform(image, matrix.astype(np.float32))
    return np.asarray(mixed, dtype=np.float32).reshape(*image.shape[:2], len(matrix))


def resize(image: FloatImage, height: float, width: float, mode: int) -> FloatImage:
    """Resize to a size rounded to whole pixels, in [0, 1] (bicubic overshoots)."""
    size = (max(1, round(width)), max(1, round(height)))
    if size == (image.shape[1], image.shape[0]):
        return image
    return np.clip(cv2.resize(image, size, interpolation=mode), 0, 1)


def add_gaussian_noise(
    image: FloatImage, sigma: float, rng: np.random.Generator, *, grey: bool
) -> FloatImage:
    """Add noise of ``sigma`` 8-bit levels, the same in all channels if ``grey``; in [0, 1]."""
    height, width, channels = image.shape
    shape = (height, width, 1 if grey else channels)
    noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma / 255)
    return np.clip(image + noise, 0, 1)


def add_poisson_noise(
    image: FloatImage, scale: float, rng: np.random.Generator, *, grey: bool
) -> FloatImage:
    """Add ``scale`` times the shot noise of 2^b events at white, b bits being what it takes to
    number the picture's levels; the luma's in all channels if ``grey``; in [0, 1].

    That is basicsr's ``generate_poisson_noise``, but for pixels of many events, drawn from the
    normal distribution of the same mean and variance, five times as fast.
    """
    source = mix_channels(image, LUMA) if grey else image
    levels = to_8_bit(source)
    events = 2 ** np.ceil(np.log2(np.count_nonzero(np.bincount(levels.ravel()))))
    expected = levels.astype(np.float32) * np.float32(events / 255)
    noise = rng.standard_normal(expected.shape, dtype=np.float32) * np.sqrt(expected)
    few = expected < _GAUSSIAN_FROM
    noise[few] = rng.poisson(expected[few]) - expected[few]
    noisy: FloatImage = np.clip(image + noise * np.float32(scale / events), 0, 1)
    return noisy


def jpeg(image: FloatImage, quality: int) -> FloatImage:
    """Through JPEG and back (basicsr's own passes floats, which OpenCV 4.14 warns about)."""
    bgr = cv2.cvtColor(to_8_bit(image), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return to_float(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), dtype=np.uint8))


def to_8_bit(image: FloatImage) -> NDArray[np.uint8]:
    """[0, 1] -> 8-bit levels, rounded; any shape."""
    flat = image.reshape(-1, 1)
    levels = cv2.addWeighted(flat, 255, flat, 0, 0, dtype=cv2.CV_8U)  # clips and rounds, in one go
    return np.asarray(levels, dtype=np.uint8).reshape(image.shape)


def to_float(levels: NDArray[np.uint8]) -> FloatImage:
    """8-bit levels -> [0, 1]; any shape."""
    return np.divide(levels, np.float32(255), dtype=np.float32)
