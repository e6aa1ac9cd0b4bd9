"""``gpen enhance``: photos on disk, through the same pipeline as the service."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from app.commands.flags import add_settings, settings_from
from app.commands.photos import SUFFIXES, fail, find_photos, for_each
from app.log import configure_logging
from app.options import EnhanceOptions, OutputFormat
from app.settings import Settings, one_line

if TYPE_CHECKING:
    from app.load import Loaded

_FORMATS: dict[str, OutputFormat] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
    ".webp": "webp",
}
_SETTINGS = (
    "model",
    "weights_dir",
    "cache_dir",
    "device",
    "max_batch",
    "max_faces",
    "max_pixels",
    "max_output_pixels",
    "min_face",
    "detection_threshold",
    "log_level",
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("enhance", help="restore a photo, or a folder of photos")
    parser.add_argument("-i", "--input", type=Path, required=True, help="photo or folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="photo or folder")
    for name, field in EnhanceOptions.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            parser.add_argument(flag, action="store_true", help=field.description)
        else:
            parser.add_argument(
                flag,
                default=field.default,
                metavar="VALUE",
                help=f"{field.description} (default: {field.default})",
            )
    add_settings(parser, _SETTINGS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0 when every photo was written; 1, with a line for each that was not, otherwise."""
    settings = settings_from(options)
    configure_logging(settings.log_level if "log_level" in settings.model_fields_set else "warning")
    try:
        chosen: dict[str, Any] = {
            name: getattr(options, name) for name in EnhanceOptions.model_fields
        }
        wanted = EnhanceOptions.model_validate(chosen)
    except ValidationError as error:
        return fail(one_line(error))
    try:
        work = _plan(options.input, options.output, wanted.format)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}")
    if not work:
        return fail(f"no photos in {options.input}")

    from app.load import load  # noqa: PLC0415  (PyTorch takes seconds; mistakes are told first)

    try:
        loaded = load(settings)
    except ValueError as error:
        return fail(str(error))

    def restore(item: tuple[Path, Path]) -> str:
        faces = enhance_file(*item, wanted, loaded, settings)
        return f"{item[1]}: {faces} faces restored"

    return 1 if for_each(work, lambda item: item[0], restore) else 0


def enhance_file(
    source: Path, target: Path, options: EnhanceOptions, loaded: Loaded, settings: Settings
) -> int:
    """Restore one photo; returns the number of faces restored.  Raises ServiceError, OSError."""
    from app.pipeline import find, finish  # noqa: PLC0415
    from app.restore import restore_all  # noqa: PLC0415

    if options.format == "same" and target.suffix.lower() in _FORMATS:
        options = options.model_copy(update={"format": _FORMATS[target.suffix.lower()]})
    found = find(source.read_bytes(), options, settings.limits, loaded.detector, loaded.restorer)
    crops = restore_all(loaded.restorer, found.crops, loaded.max_batch)
    enhanced = finish(found, crops, options)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(enhanced.picture.data)
    return len(crops)


def _plan(source: Path, target: Path, wanted: OutputFormat) -> list[tuple[Path, Path]]:
    """Which photo is written where: a folder keeps its structure.  Raises FileNotFoundError.

    A name ends as its format does (BMP and TIFF are read, not written: their results are PNG);
    where two photos would get the same name, the later one keeps its old suffix too.
    """
    photos = find_photos(source)
    if not source.is_dir():
        named = target / source.name if target.is_dir() else target
        unwritten = named.suffix.lower() in SUFFIXES - _FORMATS.keys()
        return [(source, _named(named, wanted) if target.is_dir() or unwritten else named)]
    targets: dict[Path, Path] = {}  # to source
    for photo in photos:
        place = target / photo.relative_to(source)
        named = _named(place, wanted)
        if named in targets:
            named = place.with_name(place.name + named.suffix)
        targets[named] = photo
    return [(photo, named) for named, photo in targets.items()]


def _named(target: Path, wanted: OutputFormat) -> Path:
    kept = _FORMATS.get(target.suffix.lower())
    if kept is not None and wanted in ("same", kept):
        return target
    return target.with_suffix(".png" if wanted == "same" else f".{wanted}")
