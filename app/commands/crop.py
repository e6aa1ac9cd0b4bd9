"""``gpen crop``: cut aligned faces out of photos for training, the way the service does."""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path

import cv2
import numpy as np

from app.bulk.files import write_new
from app.bulk.origin import Origin
from app.commands.flags import add_settings, settings_from
from app.commands.photos import fail, find_photos, for_each, stems
from app.imaging.jail.pool import DecodersError
from app.log import configure_logging
from app.settings import Settings

_OVERHANG = 0.02
"""How far a margin may reach beyond the photo, as a share of the written width."""
_SETTINGS = ("weights_dir", "cache_dir", "device", "max_pixels", "detection_threshold", "log_level")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("crop", help="cut aligned faces to train on out of photos")
    parser.add_argument("-i", "--input", type=Path, required=True, help="photo or folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    parser.add_argument("--size", type=int, default=512, help="pixels of a face (default: 512)")
    parser.add_argument(
        "--enlarge",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="leave out faces that would have to be enlarged by more, because networks learn blur "
        "from blurred faces (default: 1)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="keep this much of the photo on each side of the face, as a share of its width, "
        "so that training can rotate and shift it (data.margin); faces too near the photo's border "
        "are left out (default: 0)",
    )
    add_settings(parser, _SETTINGS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Return 0 if every photo and folder was read, else 1, with a line for each that was not."""
    settings = settings_from(options)
    configure_logging(settings.log_level if "log_level" in settings.model_fields_set else "warning")
    if options.size < 16 or options.enlarge <= 0:
        return fail("--size must be at least 16, and --enlarge more than 0")
    if not 0 <= options.margin < 1:
        return fail("--margin must be at least 0 and less than 1")
    try:
        photos, unread = find_photos(options.input)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}")
    for folder in unread:
        fail(f"{folder.filename}: {folder.strerror}")
    if not photos and unread:
        return 1
    if not photos:
        return fail(f"no photos in {options.input}")
    root = options.input if options.input.is_dir() else options.input.parent
    faces = _Faces(settings, options.size, options.enlarge, options.margin)
    names = stems(photos)

    def crop_faces(photo: Path) -> str:
        target = (options.output / photo.relative_to(root)).with_name(names[photo])
        return f"{photo}: {faces.write(photo, target)}"

    try:
        with faces.decoders:
            failed = for_each(photos, crop_faces)
    except DecodersError as error:
        return fail(str(error))
    return 1 if failed or unread else 0


class _Faces:
    """The loaded detector, and the options that decide which faces are written."""

    def __init__(self, settings: Settings, size: int, enlarge: float, margin: float) -> None:
        from app.serving.decoders import decoder_pool  # noqa: PLC0415  (PyTorch takes seconds)
        from app.serving.load import choose_devices  # noqa: PLC0415
        from app.serving.networks import find_detector  # noqa: PLC0415
        from model.checkpoints.templates import landmark_template  # noqa: PLC0415

        self.settings = settings
        self.decoders = decoder_pool(settings.model_copy(update={"decoders": 1}), cores=1)
        border = round(size * margin)
        self.width = size + 2 * border
        self.overhang = _OVERHANG * self.width if border else math.inf
        self.enlarge = enlarge
        self.detector = find_detector(settings, choose_devices(settings.device)[0], commercial=True)
        self.template = landmark_template("gpen", size) + border

    def write(self, photo: Path, target: Path) -> str:
        """Write a photo's faces as ``target``_0.png, ``target``_1.png, ...; returns a summary.

        Existing files are never overwritten: if one is a different picture, a number is appended to
        the name.  Raises ServiceError, OSError.
        """
        from app.faces.align import align  # noqa: PLC0415
        from app.faces.turned import detect_turned  # noqa: PLC0415
        from app.imaging.colour import colours_of  # noqa: PLC0415

        origin = Origin.of(photo)
        decoded = self.decoders.decode(photo.read_bytes(), self.settings.max_pixels)
        pixels = colours_of(decoded).shown(decoded.pixels)
        quarters, faces = detect_turned(
            self.detector,
            pixels,
            threshold=self.settings.detection_threshold,
            min_face=self.settings.min_face,
        )
        pixels = np.rot90(pixels, quarters)
        aligned = [align(pixels, face.landmarks, self.template, self.width) for face in faces]
        large = [face for face in aligned if face.scale <= self.enlarge]
        height, width = pixels.shape[:2]
        complete = [face for face in large if face.overhang(width, height) <= self.overhang]
        for number, face in enumerate(complete):
            encoded, png = cv2.imencode(".png", face.crop[..., ::-1])
            assert encoded
            _write_face(target.with_name(f"{target.name}_{number}"), png.tobytes(), origin)
        cut_off = len(large) - len(complete)
        return f"{len(complete)} faces" + (f", {cut_off} too near the border" if cut_off else "")


def _write_face(target: Path, png: bytes, origin: Origin) -> None:
    """Write under the first free name, unless the same face was written before.  Raises OSError."""
    for number in itertools.count(1):
        path = target.with_name(f"{target.name}{f'-{number}' if number > 1 else ''}.png")
        if write_new(path, png, origin):
            return
        if path.is_file() and not path.is_symlink() and path.read_bytes() == png:
            return
