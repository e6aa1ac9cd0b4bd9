"""``python -m model.train``: content stage, discriminator warm-up, joint training.

``model.training.run_folder`` says what a run leaves in its folder.  SIGTERM, SIGUSR1 and Ctrl-C
have it save itself and end; ``--resume`` goes on with it, as if nothing had happened.  Under
``torchrun`` or ``accelerate launch``, processes share every batch.

Exit status: 0 if the run has come to its end, 75 if it was interrupted, 1 for errors, 2 for
arguments that make no sense.
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
"""75: the caller is invited to try again."""


def train(config: Config, output: Path, *, resume: Path | None = None) -> str:
    """Run the configured training to its end, or to one of SAVING_SIGNALS; returns why it ended.

    ``resume`` is a checkpoint to go on from.  Raises ValueError or OSError for a configuration,
    data or files that cannot be used; OutOfMemoryError or NonFiniteGradientError, which say what to
    change.
    """
    cv2.setNumThreads(1)  # workers run in parallel, and a pool of threads would not outlive a fork
    processes = Processes.join()
    last = output / _LAST
    # asked together, before the first of them writes it
    exists = processes.gather(last.exists())
    if resume is None and any(exists):
        raise ValueError(f"{last} exists: --resume goes on with it, another --output begins anew")
    if resume is not None and not all(processes.gather(resume.exists())):
        raise ValueError(f"not all processes see {resume}: --output must be shared by all machines")
    trainer = Trainer(config, output, processes, resume)
    with _signals_noted() as interrupted, logging_redirect_tqdm():
        reason = trainer.run(interrupted)
    log.info(
        "%s at step %d%s", reason, trainer.state.step,
        "; --resume goes on" if reason == INTERRUPTED else "",
    )  # fmt: skip
    return reason


@contextmanager
def _signals_noted() -> Iterator[Callable[[], bool]]:
    """Within, SAVING_SIGNALS only make the yielded function return True."""
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
    """What to train with, and the checkpoint to go on from, if there is one.

    A run that goes on keeps its own configuration, except for --data and --set.
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
            raise ValueError("--config is needed to begin a run")
        return given, None
    config = configuration_of(resume, options.set, options.data)
    ignored = {} if given is None else differences(config, given)
    if ignored:
        settings = ", ".join(f"{key} ({ours})" for key, (ours, _) in ignored.items())
        log.warning(
            "warning: the run goes on with its own configuration, from which %s differs in %s; "
            "--set changes them",
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
        "--config", type=Path, help="settings of a new run; one that goes on keeps its own"
    )
    parser.add_argument("--data", type=Path, help="folder of aligned faces (data.folder)")
    parser.add_argument("--output", type=Path, default=Path("runs/gpen"))
    parser.add_argument(
        "--resume",
        type=Path,
        nargs="?",
        const=_LAST,
        metavar="auto|CHECKPOINT",
        help="go on from last.pt in --output, or from the file given; auto: if there is one",
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    first = os.environ.get("RANK", "0") == "0"  # of several processes, one tells
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
