"""``python -m model.train``: content stage, discriminator warm-up, joint training.

``model.training.run_folder`` describes the folder that a run writes.  On SIGTERM, SIGUSR1 and
Ctrl-C a run saves a checkpoint and exits; ``--resume`` continues it exactly.  Under ``torchrun`` or
``accelerate launch``, processes share every batch.

Exit status: 0 if the run is complete, 75 if it was interrupted, 1 for errors, 2 for invalid
arguments.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import cv2
from tqdm.contrib.logging import logging_redirect_tqdm

from model.training.config import Config
from model.training.config_file import differences, load_config
from model.training.loading import SAVING_SIGNALS
from model.training.memory import keep_freed_memory
from model.training.processes import Processes
from model.training.rehearsal import OutOfMemoryError
from model.training.resume import configuration_of
from model.training.steps import NonFiniteGradientError
from model.training.trainer import INTERRUPTED, Trainer

log = logging.getLogger(__name__)

_LAST = Path("last.pt")
_AUTO = Path("auto")
INTERRUPTED_STATUS = os.EX_TEMPFAIL
"""75, sysexits' code for "try again later"."""


def train(config: Config, output: Path, *, resume: Path | None = None) -> str:
    """Train until the end or until one of SAVING_SIGNALS arrives; returns why training ended.

    ``resume`` is a checkpoint to continue from.  Raises ValueError or OSError for a configuration,
    data or files that cannot be used, and OutOfMemoryError or NonFiniteGradientError, whose
    messages say what to change.
    """
    cv2.setNumThreads(1)  # workers run in parallel, and a thread pool does not survive a fork
    processes = Processes.join()
    last = output / _LAST
    # all processes look before the first one writes the file
    exists = processes.gather(last.exists())
    if resume is None and any(exists):
        raise ValueError(f"{last} exists: --resume continues it; a new run needs another --output")
    if resume is not None and not all(processes.gather(resume.exists())):
        raise ValueError(f"some processes do not see {resume}: all machines must share --output")
    trainer = Trainer(config, output, processes, resume)
    with _signals_noted() as interrupted, logging_redirect_tqdm():
        reason = trainer.run(interrupted)
    log.info(
        "%s at step %d%s", reason, trainer.state.step,
        "; --resume continues it" if reason == INTERRUPTED else "",
    )  # fmt: skip
    return reason


@contextmanager
def _signals_noted() -> Iterator[Callable[[], bool]]:
    """In this context, SAVING_SIGNALS only make the yielded function return True."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in SAVING_SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _configuration(options: argparse.Namespace) -> tuple[Config, Path | None]:
    """The configuration to train with, and the checkpoint to continue from, if there is one.

    A resumed run keeps its own configuration, except for --data and --set.
    """
    resume: Path | None = options.resume
    if resume in (_LAST, _AUTO):
        resume = options.output / _LAST
        if options.resume == _AUTO and not resume.exists():
            resume = None
    given = None
    if options.config is not None:
        given = load_config(options.config, options.set)
        given = given if options.data is None else given.with_data(options.data)
    if resume is None:
        if given is None:
            raise ValueError("a new run needs --config")
        return given, None
    config = configuration_of(resume, options.set, options.data)
    ignored = {} if given is None else differences(config, given)
    if ignored:
        settings = ", ".join(f"{key} ({ours})" for key, (ours, _) in ignored.items())
        log.warning(
            "warning: the run continues with its own configuration, and %s differs from that in "
            "%s; use --set to change settings",
            *(options.config, settings),
        )
    return config, resume


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m model.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", type=Path, help="settings of a new run; a resumed one keeps its own"
    )
    parser.add_argument("--data", type=Path, help="folder of aligned faces (data.folder)")
    parser.add_argument("--output", type=Path, default=Path("runs/gpen"))
    parser.add_argument(
        "--resume",
        type=Path,
        nargs="?",
        const=_LAST,
        metavar="auto|CHECKPOINT",
        help="continue from last.pt in --output, or from CHECKPOINT; auto: start if there is none",
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    first = os.environ.get("RANK", "0") == "0"  # one process logs
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, format="%(message)s")
    try:
        config, resume = _configuration(options)
        reason = train(config, options.output, resume=resume)
        Processes.leave()
    except (
        ValueError,
        OSError,
        ModuleNotFoundError,
        NonFiniteGradientError,
        OutOfMemoryError,
    ) as error:
        sys.exit(f"error: {error}")
    if reason == INTERRUPTED:
        sys.exit(INTERRUPTED_STATUS)


if __name__ == "__main__":
    main()
