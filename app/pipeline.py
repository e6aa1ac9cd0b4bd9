"""The way of a photo, in plain functions: :func:`find` before the network, :func:`finish` after."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.align import AlignedFace, align, rescaled
from app.colour import Colours, colours_of
from app.deadline import NEVER, Deadline
from app.decode import decode, measure
from app.detect import Face, detect
from app.encode import EncodedPicture, check_encodable, encode, output_format
from app.errors import NoFace, NotSquare
from app.options import EnhanceOptions, FaceChoice
from app.paste import paste, replace_whole
from app.photo import Photo, Pixels, eight_bits
from app.restore import Restorer
from app.settings import Limits

Reason = Literal["limit", "not selected"]


@dataclass(frozen=True)
class Timings:
    """Seconds."""

    decode: float = 0
    detect: float = 0
    """Aligning included."""
    queue: float = 0
    restore: float = 0
    paste: float = 0
    encode: float = 0


@dataclass(frozen=True)
class FaceReport:
    face: Face
    """In pixels of the photo; once it is finished, of the output picture."""
    restored: bool
    reason: Reason | None
    """Why a face was left as it was."""


@dataclass(frozen=True)
class FoundFaces:
    model: str
    """Name of the generator that they are aligned for."""
    photo: Photo
    colours: Colours
    """Between the photo's and the network's."""
    reports: tuple[FaceReport, ...]
    aligned: tuple[AlignedFace, ...]
    """Those to restore, in the photo's own colours."""
    crops: list[Pixels]
    """The same in sRGB, as the network is to see them."""
    timings: Timings


@dataclass(frozen=True)
class Enhanced:
    model: str
    picture: EncodedPicture
    width: int
    height: int
    reports: tuple[FaceReport, ...]
    timings: Timings


def measure_work(data: bytes, options: EnhanceOptions, limits: Limits) -> int:
    """Pixels of the output, by the photo's header alone.  Raises what decoding would."""
    return measure(data, _max_pixels(options, limits)) * options.upscale**2


def _max_pixels(options: EnhanceOptions, limits: Limits) -> int:
    return min(limits.max_pixels, limits.max_output_pixels // options.upscale**2)


def find(
    data: bytes,
    options: EnhanceOptions,
    limits: Limits,
    detector: nn.Module,
    restorer: Restorer,
    deadline: Deadline = NEVER,
) -> FoundFaces:
    """Decode a photo, detect its faces, and align those to restore.

    Raises the ServiceErrors of :func:`app.decode.decode`, NotSquare, NoFace and DeadlineExceeded.
    """
    deadline.check()
    start = time.perf_counter()
    photo = decode(data, _max_pixels(options, limits))
    check_encodable(
        output_format(photo, options.format),
        photo.width * options.upscale,
        photo.height * options.upscale,
    )
    deadline.check()
    decoded = time.perf_counter()
    if options.aligned:
        faces = [_whole_picture(photo, restorer)]
    else:
        (faces,) = detect(
            detector,
            [eight_bits(photo.pixels)],
            threshold=limits.detection_threshold,
            min_face=limits.min_face,
        )
    if not faces and options.require_face:
        raise NoFace("No face was found in the picture.")
    deadline.check()
    reports = _select(faces, options.faces, limits.max_faces, photo)
    aligned = tuple(
        align(photo.pixels, report.face.landmarks, restorer.template, restorer.size)
        for report in reports
        if report.restored
    )
    colours = colours_of(photo)
    crops = [colours.shown(face.crop) for face in aligned]
    timings = Timings(decode=decoded - start, detect=time.perf_counter() - decoded)
    return FoundFaces(restorer.name, photo, colours, reports, aligned, crops, timings)


def finish(
    found: FoundFaces,
    restored: Sequence[Pixels],
    options: EnhanceOptions,
    deadline: Deadline = NEVER,
) -> Enhanced:
    """Paste the restored crops, in the order of ``found.aligned``, and encode the photo.

    Raises DeadlineExceeded.
    """
    deadline.check()
    start = time.perf_counter()
    faces = [
        replace(face, crop=found.colours.brought_back(crop, face.crop))
        for face, crop in zip(found.aligned, restored, strict=True)
    ]
    photo = upscaled(found.photo, options.upscale)
    if options.aligned:
        pixels = replace_whole(photo.pixels, faces[0].crop, strength=options.strength)
    else:
        pixels = paste(photo.pixels, faces, scale=options.upscale, strength=options.strength)
    deadline.check()
    pasted = time.perf_counter()
    picture = encode(
        replace(photo, pixels=pixels),
        options.format,
        options.quality,
        strip_metadata=options.strip_metadata,
    )
    return Enhanced(
        found.model,
        picture,
        photo.width,
        photo.height,
        tuple(replace(r, face=_scaled(r.face, options.upscale)) for r in found.reports),
        replace(found.timings, paste=pasted - start, encode=time.perf_counter() - pasted),
    )


def upscaled(photo: Photo, scale: int) -> Photo:
    """The photo ``scale`` times larger (bicubic)."""
    if scale == 1:
        return photo
    size = (photo.width * scale, photo.height * scale)
    pixels = cv2.resize(photo.pixels, size, interpolation=cv2.INTER_CUBIC)
    alpha = photo.alpha
    if alpha is not None:
        resized = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)
        alpha = np.asarray(resized, dtype=alpha.dtype)
    return replace(photo, pixels=np.asarray(pixels, dtype=photo.pixels.dtype), alpha=alpha)


def _whole_picture(photo: Photo, restorer: Restorer) -> Face:
    """A face that fills an aligned picture."""
    if photo.width != photo.height:
        raise NotSquare(f"The picture has {photo.width}x{photo.height} pixels.")
    landmarks = rescaled(restorer.template, photo.width / restorer.size)
    box: NDArray[np.float32] = np.array([0, 0, photo.width, photo.height], dtype=np.float32)
    return Face(box=box, score=1.0, landmarks=landmarks.astype(np.float32))


def _select(
    faces: list[Face], choice: FaceChoice, limit: int, photo: Photo
) -> tuple[FaceReport, ...]:
    """Which of the faces, sorted by size, are restored."""
    if choice == "largest":
        wanted = {0}
    elif choice == "center" and faces:
        middle = np.array([photo.width, photo.height]) / 2
        distances = [np.linalg.norm((f.box[:2] + f.box[2:]) / 2 - middle) for f in faces]
        wanted = {int(np.argmin(distances))}
    else:
        wanted = set(range(limit))

    def reason(i: int) -> Reason | None:
        if i in wanted:
            return None
        return "limit" if choice == "all" else "not selected"

    return tuple(
        FaceReport(face, restored=i in wanted, reason=reason(i)) for i, face in enumerate(faces)
    )


def _scaled(face: Face, scale: int) -> Face:
    if scale == 1:
        return face
    landmarks = rescaled(face.landmarks, scale).astype(np.float32)
    return replace(face, box=(face.box * scale).astype(np.float32), landmarks=landmarks)
