"""``python -m model.train``: content stage, discriminator warm-up, joint training.

What a run leaves in its folder, ``model.training.run_folder`` says.  Interrupted by SIGTERM or
Ctrl-C, it saves itself; ``--resume`` goes on with it, as if nothing had happened.  Under
``torchrun`` or ``accelerate launch``, processes share every batch.
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
from model.training.config_file import load_config
from model.training.memory import keep_freed_memory
from model.training.processes import Processes
from model.training.steps import NonFiniteGradientError
from model.training.trainer import INTERRUPTED, Trainer

log = logging.getLogger(__name__)

_LAST = Path("last.pt")


def train(config: Config, output: Path, *, resume: Path | None = None) -> str:
    """Run the configured training to its end, or to SIGTERM or SIGINT; returns why it ended.

    ``resume`` is a checkpoint to go on from.  Raises ValueError or OSError for a configuration,
    data or files that cannot be used, and NonFiniteGradientError, which says what to change.
    """
    cv2.setNumThreads(1)  # workers run in parallel, and a pool of threads would not outlive a fork
    processes = Processes.join()
    last = output / _LAST
    # asked together, before the first of them writes it
    if resume is None and processes.any(last.exists()):
        raise ValueError(f"{last} exists: --resume goes on with it, another --output begins anew")
    trainer = Trainer(config, output, processes)
    if resume is not None:
        trainer.restore(resume)
    with _signals_noted() as interrupted, logging_redirect_tqdm():
        reason = trainer.run(interrupted)
    log.info(
        "%s at step %d%s", reason, trainer.state.step,
        "; --resume goes on" if reason == INTERRUPTED else "",
    )  # fmt: skip
    return reason


@contextmanager
def _signals_noted() -> Iterator[Callable[[], bool]]:
    """Within, SIGTERM and SIGINT only make the yielded function return True."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of aligned faces (data.folder)")
    parser.add_argument("--output", type=Path, default=Path("runs/gpen"))
    parser.add_argument(
        "--resume",
        type=Path,
        nargs="?",
        const=_LAST,
        metavar="CHECKPOINT",
        help="go on from last.pt in --output, or from the file given",
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    first = os.environ.get("RANK", "0") == "0"  # of several processes, one tells
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, format="%(message)s")
    resume = options.output / _LAST if options.resume == _LAST else options.resume
    try:
        config = load_config(options.config, options.set)
        if options.data:
            config = config.with_data(options.data)
        train(config, options.output, resume=resume)
        Processes.leave()
    except (ValueError, OSError, ModuleNotFoundError, NonFiniteGradientError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
