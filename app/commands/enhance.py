"""``gpen enhance``: photos on disk, through the same pipeline as the service."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tqdm import tqdm

from app.bulk.cluster import ClusterError, enhance_on_cluster
from app.bulk.outcome import FailureList, Outcome, Problem
from app.bulk.plan import FORMATS, Job, Task, is_made_from, named, survey
from app.commands.flags import add_settings, settings_from
from app.commands.photos import fail
from app.cores import core_count
from app.errors import NotServing
from app.imaging.formats import SUFFIXES
from app.log import configure_logging
from app.options import EnhanceOptions, OutputFormat
from app.settings import Settings, one_line
from app.text import printable

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
    "guard",
    "log_level",
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("enhance", help="restore a photo, or a folder of photos")
    parser.add_argument("-i", "--input", type=Path, required=True, help="photo or folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="photo or folder")
    for name, field in EnhanceOptions.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            parser.add_argument(
                flag,
                action=argparse.BooleanOptionalAction,
                default=field.default,
                help=field.description,
            )
        else:
            parser.add_argument(
                flag,
                default=field.default,
                metavar="VALUE",
                help=f"{field.description} (default: {field.default})",
            )
    group = parser.add_argument_group("folders")
    group.add_argument(
        "--resume",
        action="store_true",
        help="leave out photos whose result is there already, and was made from them as they are",
    )
    group.add_argument(
        "--failures",
        type=Path,
        metavar="FILE",
        help="where to list photos that failed, as lines of JSON (default: failures.jsonl in the "
        "output folder)",
    )
    group.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="work on a Ray cluster: this address, or the one that this machine is part of, or "
        "else this machine alone",
    )
    group.add_argument(
        "--ray-workers",
        type=int,
        metavar="N",
        help="processes that load the models (default: one a GPU, else one for each 4 cores)",
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
    if options.ray_workers is not None and options.ray_workers < 1:
        return fail("--ray-workers is at least 1")
    try:
        if options.input.is_dir():
            return _enhance_folder(options, settings, wanted)
        if options.ray is not None:
            return fail("--ray is for folders")
        return _enhance_photo(options, settings, wanted)
    except NotServing:
        return fail("the device failed; --resume goes on")
    except OSError as error:
        return fail(f"{error.filename or 'output'}: {(error.strerror or str(error)).lower()}")
    except (ValueError, ClusterError) as error:
        return fail(str(error))


def _enhance_photo(options: argparse.Namespace, settings: Settings, wanted: EnhanceOptions) -> int:
    source = options.input
    source.stat()  # a name that is not there is told before PyTorch is loaded
    target = _target(source, options.output, wanted.format)
    if options.resume and target.exists() and is_made_from(target, source):
        print(printable(f"{target}: there already"))
        return 0

    from app.bulk.machine import enhance_alone  # noqa: PLC0415  (PyTorch takes seconds)
    from app.serving.load import load  # noqa: PLC0415

    job = Job(0, source, target, done=False)
    return 0 if _told(enhance_alone(job, load(settings), settings, wanted)) else 1


def _target(source: Path, output: Path, wanted: OutputFormat) -> Path:
    """Where one photo is written; a name that is given is kept where its format can be written."""
    if output.is_dir():
        return named(output / source.name, wanted)
    unwritten = output.suffix.lower() in SUFFIXES - FORMATS.keys()
    return named(output, wanted) if unwritten else output


def _enhance_folder(options: argparse.Namespace, settings: Settings, wanted: EnhanceOptions) -> int:
    source, target = options.input, options.output
    if target.exists() and not target.is_dir():
        return fail(f"{target} is not a folder")
    if options.resume and target.resolve() == source.resolve():
        return fail("--resume needs an output folder of its own, to see what is done")
    if options.ray is not None:  # workers have other working directories
        source, target = source.absolute(), target.absolute()
        settings = _with_absolute_paths(settings)
    counted = survey(source, target, wanted.format)
    if not counted.photos:
        return fail(f"no photos in {source}")
    done = counted.done if options.resume else 0
    listed = options.failures or target / "failures.jsonl"
    if done == counted.photos:
        FailureList(listed)
        print(f"all {done} photos are there already")
        return 0
    task = Task(source, target, wanted.format, options.resume)
    if options.ray is None:
        outcomes = _enhance_here(task, settings, wanted)
    else:
        outcomes = enhance_on_cluster(
            task,
            counted.photos - done,
            settings,
            wanted,
            address=options.ray or None,
            workers=options.ray_workers,
        )
    failures = FailureList(listed)  # not before the models are there: the last one is worth keeping
    told = bytearray(counted.photos)  # which, for there may be millions
    failed = 0
    with tqdm(total=counted.photos, initial=done, unit="photo") as progress:
        for outcome in outcomes:
            if outcome.job.number < len(told):
                told[outcome.job.number] = True
            progress.update()
            failed += not _told(outcome, failures)
    if told.count(True) + done < counted.photos:
        for job in _left_out(task, told):
            failed += not _told(Outcome(job, 0, _DIED), failures)
    if failed:
        print(f"{failed} photos failed; they are listed in {failures.path}", file=sys.stderr)
    return 1 if failed else 0


def _with_absolute_paths(settings: Settings) -> Settings:
    update: dict[str, Any] = {
        name: getattr(settings, name).absolute() for name in ("weights_dir", "cache_dir")
    }
    if Path(settings.model).is_file():
        update["model"] = str(Path(settings.model).absolute())
    return settings.model_copy(update=update)


def _enhance_here(task: Task, settings: Settings, wanted: EnhanceOptions) -> Iterator[Outcome]:
    """Load, and return outcomes as they come.  Both may raise."""
    from app.bulk.machine import Machine  # noqa: PLC0415  (PyTorch takes seconds)
    from app.serving.load import load  # noqa: PLC0415

    loaded = load(settings)

    def outcomes() -> Iterator[Outcome]:
        with Machine(loaded, settings, wanted, core_count()) as machine:
            yield from machine.enhance_all(task.jobs())

    return outcomes()


_DIED = Problem("worker-died", "The process that worked on it ended, again and again.")


def _left_out(task: Task, told: bytearray) -> Iterator[Job]:
    """What nobody has told of: each was in a group whose worker died.

    Others of its group may have been written; with ``resume`` those are seen to be done.
    """
    for job in task.jobs():
        if job.number < len(told) and not told[job.number]:
            yield job


def _told(outcome: Outcome, failures: FailureList | None = None) -> bool:
    """Say what became of a photo, and list it if it failed; whether it was written."""
    job, problem = outcome.job, outcome.problem
    if problem is None:
        tqdm.write(printable(f"{job.target}: {outcome.faces} faces restored"))
        return True
    tqdm.write(printable(f"{job.source}: {problem.detail}"), file=sys.stderr)
    if failures is not None:
        failures.add(job, problem)
    return False
