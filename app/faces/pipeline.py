"""The steps of restoring a photo: :func:`find` before the generator, :func:`finish` after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.deadline import NEVER, Deadline
from app.errors import NoFace, NotSquare
from app.faces.align import AlignedFace, align, rescaled
from app.faces.blend import colours_matched, uncoloured
from app.faces.detect import Face
from app.faces.guard import Guard
from app.faces.mask import FloatMap, oval
from app.faces.parsing import FaceParser
from app.faces.paste import paste, replace_whole
from app.faces.reports import FaceReport, select
from app.faces.restore import Restorer
from app.faces.turned import detect_turned, turned_face, turned_photo
from app.faces.upscale import Upscaler, upscaled
from app.imaging.colour import Colours, colours_of
from app.imaging.decode import decode as decode_here
from app.imaging.encode import EncodedPicture, check_encodable, encode, output_format
from app.imaging.photo import Levels, Photo, Pixels, eight_bits
from app.options import EnhanceOptions
from app.settings import Limits


@dataclass(frozen=True)
class Timings:
    """Seconds per step.  Their sum is how long a request took after the last byte of its body."""

    wait: float = 0
    """Waiting until the photo is taken on."""
    decode: float = 0
    detect: float = 0
    """Detecting and aligning faces."""
    queue: float = 0
    """Waiting for the other faces of a batch, and for a thread that finishes the photo."""
    restore: float = 0
    paste: float = 0
    """Checking, parsing, upscaling and pasting."""
    encode: float = 0


@dataclass(frozen=True)
class FoundFaces:
    """A decoded photo and its faces, ready for the generator."""

    model: str
    """Name of the generator that the faces are aligned for."""
    photo: Photo
    """Turned so that its faces are upright."""
    quarters: int
    """Quarter turns, counterclockwise, by which it was turned."""
    colours: Colours
    """Conversion between the photo's colours and the network's."""
    reports: tuple[FaceReport, ...]
    """All faces, the largest first."""
    aligned: tuple[AlignedFace, ...]
    """The faces to restore, in the photo's colour space."""
    crops: list[Pixels]
    """The crops of ``aligned`` in sRGB, which is the network's input."""
    template: NDArray[np.float64]
    """(5, 2): where the landmarks lie in a crop."""
    timings: Timings


@dataclass(frozen=True)
class Enhanced:
    """A finished photo."""

    model: str
    picture: EncodedPicture
    width: int
    height: int
    reports: tuple[FaceReport, ...]
    timings: Timings
    upscaler: str | None
    """What enlarged the photo; None if it was not enlarged."""


Decode = Callable[[bytes, int], Photo]
"""Decodes a file of at most so many pixels, as :func:`app.imaging.decode.decode` does."""


def measure_work(
    data: bytes, options: EnhanceOptions, limits: Limits, measure: Callable[[bytes, int], int]
) -> int:
    """Pixels of the output, from the photo's header.  Raises what ``measure`` does."""
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
    decode: Decode = decode_here,
) -> FoundFaces:
    """Decode a photo, detect its faces, and align those to restore.

    ``decode`` by default decodes in this process, which is for files that are trusted.  Raises what
    it raises, NotSquare, NoFace and DeadlineExceeded.
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
    quarters = 0
    if options.aligned:
        faces = [_whole_picture(photo, restorer)]
    else:
        quarters, faces = detect_turned(
            detector,
            eight_bits(photo.pixels),
            threshold=limits.detection_threshold,
            min_face=limits.min_face,
        )
    if not faces and options.require_face:
        raise NoFace("No face was found in the picture.")
    deadline.check()
    photo = turned_photo(photo, quarters)
    reports = select(faces, options.faces, limits.max_faces, photo.width, photo.height)
    aligned = tuple(
        align(photo.pixels, report.face.landmarks, restorer.template, restorer.size)
        for report in reports
        if report.restored
    )
    colours = colours_of(photo)
    crops = [colours.shown(face.crop) for face in aligned]
    timings = Timings(decode=decoded - start, detect=time.perf_counter() - decoded)
    return FoundFaces(
        restorer.name,
        photo,
        quarters,
        colours,
        reports,
        aligned,
        crops,
        restorer.template,
        timings,
    )


def finish(
    found: FoundFaces,
    restored: Sequence[Pixels],
    options: EnhanceOptions,
    deadline: Deadline = NEVER,
    upscaler: Upscaler | None = None,
    guard: Guard | None = None,
    parser: FaceParser | None = None,
) -> Enhanced:
    """Paste the restored crops, in the order of ``found.aligned``, and encode the photo.

    Faces that the guard refuses are not pasted, and their reports say why.  Masks come from
    ``parser``; without one they are ovals.  Raises DeadlineExceeded, MemoryFull if the upscaler
    runs out of memory, and torch.OutOfMemoryError if the guard or the parser does.
    """
    deadline.check()
    start = time.perf_counter()
    if guard is not None:
        found, restored = without_refused(found, restored, guard)
    masks = None
    if parser is not None and not options.aligned:  # an aligned picture is replaced as a whole
        masks = _parsed_masks(found, restored, parser, deadline)
    crops: list[Levels] = [
        uncoloured(found.colours.brought_back(crop, face.crop), face.crop)
        for face, crop in zip(found.aligned, restored, strict=True)
    ]
    if options.match_colour:
        crops = colours_matched(crops, [face.crop for face in found.aligned], found.template)
    # an aligned picture is all face, so no network need enlarge the background
    network = None if options.aligned else upscaler
    photo, upscaled_by = upscaled(found.photo, options.upscale, network, deadline)
    if options.aligned and crops:
        pixels = replace_whole(
            photo.pixels,
            found.aligned[0],
            crops[0],
            found.template,
            scale=options.upscale,
            strength=options.strength,
        )
    else:
        pixels = paste(
            photo.pixels,
            found.aligned,
            crops,
            found.template,
            scale=options.upscale,
            strength=options.strength,
            masks=masks,
            deadline=deadline,
        )
    deadline.check()
    photo = replace(photo, pixels=pixels)  # frees the enlarged photo before encoding
    photo = turned_photo(photo, -found.quarters)
    pasted = time.perf_counter()
    picture = encode(
        photo,
        options.format,
        options.quality,
        strip_metadata=options.strip_metadata,
        # a strength of nothing changes nothing
        mark=options.mark and options.strength > 0 and bool(crops),
    )
    return Enhanced(
        found.model,
        picture,
        photo.width,
        photo.height,
        tuple(_in_output(report, found, options.upscale) for report in found.reports),
        replace(found.timings, paste=pasted - start, encode=time.perf_counter() - pasted),
        upscaled_by,
    )


def without_refused(
    found: FoundFaces, restored: Sequence[Pixels], guard: Guard
) -> tuple[FoundFaces, list[Pixels]]:
    """Drop the faces and crops that the guard refuses; the reports of these faces say why."""
    refusals = guard.refusals(found.crops, restored, found.template, grey=found.colours.grey)
    reports = list(found.reports)
    attempted = [i for i, report in enumerate(reports) if report.restored]
    for i, refusal in zip(attempted, refusals, strict=True):
        if refusal is not None:
            reports[i] = replace(reports[i], restored=False, reason=refusal)
    accepted = [i for i, refusal in enumerate(refusals) if refusal is None]
    remaining = replace(
        found,
        reports=tuple(reports),
        aligned=tuple(found.aligned[i] for i in accepted),
        crops=[found.crops[i] for i in accepted],
    )
    return remaining, [restored[i] for i in accepted]


def _parsed_masks(
    found: FoundFaces, restored: Sequence[Pixels], parser: FaceParser, deadline: Deadline
) -> list[FloatMap]:
    """The mask of each restored face.

    It is an oval if the crop also shows a face that must not change, because the parser does not
    separate two heads that touch.
    """
    if not restored:
        return []
    unchanged = [report.face.landmarks for report in found.reports if not report.restored]
    masks = [oval(found.template, restored[0].shape[0])] * len(restored)
    parsed = [
        i
        for i, face in enumerate(found.aligned)
        if not any(_shows(face, landmarks) for landmarks in unchanged)
    ]
    crops = [restored[i] for i in parsed]
    for i, mask in zip(parsed, parser.masks(crops, found.template, deadline), strict=True):
        masks[i] = mask
    return masks


def _shows(face: AlignedFace, landmarks: NDArray[np.floating]) -> bool:
    """Whether a face's crop shows the middle of (5, 2) landmarks in the photo."""
    x, y = face.matrix @ np.append(landmarks.mean(0), 1)
    height, width = face.crop.shape[:2]
    return bool(0 <= x < width and 0 <= y < height)


def _whole_picture(photo: Photo, restorer: Restorer) -> Face:
    """The face that fills an aligned picture.  Raises NotSquare."""
    if photo.width != photo.height:
        raise NotSquare(f"The picture has {photo.width}x{photo.height} pixels.")
    landmarks = rescaled(restorer.template, photo.width / restorer.size)
    box: NDArray[np.float32] = np.array([0, 0, photo.width, photo.height], dtype=np.float32)
    return Face(box=box, score=1.0, landmarks=landmarks.astype(np.float32))


def _in_output(report: FaceReport, found: FoundFaces, scale: int) -> FaceReport:
    """A report in pixels of the output picture, which lies as the photo did."""
    face = report.face
    if scale != 1:
        landmarks = rescaled(face.landmarks, scale).astype(np.float32)
        face = replace(face, box=(face.box * scale).astype(np.float32), landmarks=landmarks)
    if found.quarters:
        width, height = found.photo.width * scale, found.photo.height * scale
        face = turned_face(face, -found.quarters, width, height)
    return replace(report, face=face)
