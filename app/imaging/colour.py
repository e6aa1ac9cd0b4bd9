"""Between a photo's colours and those that the networks know: sRGB, 8 bits a channel."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from app.imaging.photo import Levels, Photo, Pixels, eight_bits, is_deep

log = logging.getLogger(__name__)

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_ERRORS = (ImageCms.PyCMSError, OSError, ValueError)
_STEPS = 9  # a side of the cube of colours by which a profile is told from sRGB


@dataclass(frozen=True)
class Colours:
    """A photo's colour space.  ``transforms`` lead to sRGB and back; None: it is sRGB."""

    grey: bool
    transforms: tuple[ImageCms.ImageCmsTransform, ImageCms.ImageCmsTransform] | None

    def shown(self, levels: Levels) -> Pixels:
        """Pixels of the photo, (H, W, 3), as a network is to see them."""
        pixels = eight_bits(levels)
        if self.transforms is None:
            return pixels
        image = _image(pixels[..., 0] if self.grey else pixels)
        return np.asarray(_transformed(image, self.transforms[0]))

    def brought_back(self, restored: Pixels, original: Levels) -> Levels:
        """A restored crop as pixels of the photo, from whose ``original`` crop it was made.

        What a network cannot see of the original (colours beyond sRGB, and the lower byte) is
        kept: its change is added to it.
        """
        if not self.grey and self.transforms is None and not is_deep(original):
            return restored
        peak = np.iinfo(original.dtype).max
        seen = self._stored(self.shown(original))
        change = (self._stored(restored).astype(np.float32) - seen) * np.float32(peak / 255)
        result: Levels = np.clip(np.rint(original + change), 0, peak).astype(original.dtype)
        return result

    def _stored(self, pixels: Pixels) -> Pixels:
        """Pixels of sRGB in the photo's colours, 8 bits a channel."""
        if self.transforms is not None:
            pixels = np.asarray(_transformed(_image(pixels), self.transforms[1]))
        elif self.grey:
            pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        return np.repeat(pixels[..., None], 3, axis=2) if self.grey else pixels


def colours_of(photo: Photo) -> Colours:
    """By the photo's profile, as far as that can be used both ways."""
    if photo.icc_profile is None or photo.shows_as_srgb:
        return Colours(photo.grey, None)
    mode = "L" if photo.grey else "RGB"
    try:
        own, srgb = _profile(photo.icc_profile), _srgb()
        there, back = _transform(own, srgb, mode, "RGB"), _transform(srgb, own, "RGB", mode)
        changes = _changes(there, mode)
    except _ERRORS as error:
        log.info("colour profile taken for sRGB: %s", error)
        return Colours(photo.grey, None)
    return Colours(photo.grey, (there, back) if changes else None)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A picture of inks (CMYK) as RGB, by its profile if that is sound."""
    try:
        if profile is not None:
            return _transformed(image, _transform(_profile(profile), _srgb(), image.mode, "RGB"))
    except _ERRORS as error:
        log.info("colour profile not used: %s", error)
    return image.convert("RGB")


def _transform(
    source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile, before: str, after: str
) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(source, target, before, after, _INTENT, _FLAGS)


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    changed = ImageCms.applyTransform(image, transform)
    assert changed is not None  # it is only where the picture itself is changed
    return changed


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _profile(data: bytes) -> ImageCms.ImageCmsProfile:
    """Raises ValueError for kinds whose parts a small file may repeat until they take gigabytes."""
    if b"mpet" in data:
        raise ValueError("it has multi-process elements")
    return ImageCms.ImageCmsProfile(BytesIO(data))


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether any colour moves by more than a level: profiles of sRGB have many names."""
    if mode == "L":
        levels = np.arange(256, dtype=np.uint8)[None]
        expected = np.repeat(levels[..., None], 3, axis=2)
    else:
        steps = np.linspace(0, 255, _STEPS).astype(np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1)
        levels = expected = cube.reshape(1, -1, 3)
    moved = np.asarray(_transformed(_image(levels), transform))
    return bool(np.abs(moved.astype(np.int16) - expected).max() > 1)
