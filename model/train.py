"""``python -m model.train``: content stage, discriminator warm-up, joint training.

A run's folder holds ``last.pt`` and ``best.pt`` (checkpoints), ``metrics.jsonl`` (a row per epoch:
means over its steps), ``config.yaml`` and ``samples/`` (LQ | restored | HQ).  Interrupted by
SIGTERM or Ctrl-C, a run saves itself; ``--resume`` goes on with it, as if nothing had happened.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from types import FrameType

import cv2
import torch
import yaml
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from model.config import Config, load_config
from model.dataset import (
    DegradedFaces,
    EpochBatches,
    PairedFaces,
    TrainingData,
    batches_per_epoch,
    open_training_data,
)
from model.evaluate import restore_all, save_grid
from model.metrics import score
from model.schedule import Stage, stage_at, total_epochs
from model.state import TrainingState
from model.steps import Batch, NonFiniteGradientError, Report, training_step

log = logging.getLogger(__name__)


def train(config: Config, output: Path, *, resume: bool) -> None:
    """Run the configured training to its end, or to SIGTERM or SIGINT.

    Raises ValueError or OSError for a configuration, data or a checkpoint that cannot be used, and
    NonFiniteGradientError, which says from where to go on.
    """
    cv2.setNumThreads(1)  # workers run in parallel, and a pool of threads would not outlive a fork
    dataset, low, high = _read_data(config)
    state = TrainingState.fresh(config)
    last = output / "last.pt"
    _prepare_output(output, state, config, resume=resume)
    degraded = score(low, high)
    log.info("%d faces to train on, %d to validate on", len(dataset), len(low))
    log.info("degraded: PSNR %.2f dB, SSIM %.4f", degraded.psnr, degraded.ssim)

    per_epoch = batches_per_epoch(len(dataset), config.train.batch_size)
    stop = total_epochs(config.train) * per_epoch
    generate = torch.compile(state.generator) if config.train.compile else state.generator
    with _signals_noted() as interrupted, logging_redirect_tqdm():
        progress = tqdm(
            _load(dataset, state.step, stop, config),
            initial=state.step,
            total=stop,
            unit="step",
            dynamic_ncols=True,
            disable=None,  # but on a terminal
        )
        reports: list[Report] = []
        started = time.monotonic()
        for batch in progress:
            try:
                reports.append(training_step(state, generate, batch, per_epoch, config.train))
            except NonFiniteGradientError as error:
                raise NonFiniteGradientError(
                    f"step {state.step}: {error}; {last} is from before: --resume from it with "
                    "lower learning rates (--set train.lr_g, train.lr_d) or train.precision=fp32"
                ) from error
            progress.set_postfix({key: f"{value:.3g}" for key, value in reports[-1].items()})
            if state.step % per_epoch == 0:
                report = _means(reports)
                report["seconds_per_step"] = (time.monotonic() - started) / len(reports)
                epoch = state.step // per_epoch
                if epoch % config.train.validate_every == 0 or state.step == stop:
                    report |= _validate(state, low, high, output, config)
                _log_metrics(output, state.step, stage_at(epoch - 1, config.train), report)
                state.save(last, config)
                reports.clear()
                started = time.monotonic()
            if interrupted():
                state.save(last, config)
                log.info("stopped at step %d; --resume goes on", state.step)
                return


def _read_data(config: Config) -> TrainingData:
    """Raises OSError or ValueError."""
    data = config.data
    if data.folder is None:
        raise ValueError("no data: give --data or set data.folder")
    train = config.train
    return open_training_data(data.folder, data.holdout, train.img_size, data.recipes, train.seed)


def _prepare_output(output: Path, state: TrainingState, config: Config, *, resume: bool) -> None:
    """Restore ``last.pt``, or write the first one, so that there is always one to go back to."""
    last = output / "last.pt"
    if resume:
        state.restore(last, config)
    elif last.exists():
        raise ValueError(f"{last} exists: --resume goes on with it, another --output begins anew")
    else:
        output.mkdir(parents=True, exist_ok=True)
        state.save(last, config)
    (output / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))


def _load(
    dataset: DegradedFaces | PairedFaces, step: int, stop: int, config: Config
) -> Iterator[Batch]:
    """The batches of the steps from ``step`` to ``stop``."""
    batches = EpochBatches(
        len(dataset), config.train.batch_size, config.train.seed, step, max(step, stop)
    )
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=config.data.workers,
        worker_init_fn=_prepare_worker,
        generator=torch.Generator(),  # else it draws from the one that a resumed run goes on with
    )
    for low, high in loader:
        yield Batch(_channels_last(low), _channels_last(high))


def _prepare_worker(_index: int) -> None:
    # a signal to the process group is for the trainer, which then ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _validate(
    state: TrainingState, low: Tensor, high: Tensor, output: Path, config: Config
) -> Report:
    """Score the moving average, write samples, and ``best.pt`` if it is the best so far."""
    restored = restore_all(state.ema, low, config.train.batch_size)
    scores = score(restored, high)
    samples = output / "samples"
    samples.mkdir(exist_ok=True)
    shown = slice(None, None, max(1, len(low) // 8))
    save_grid(samples / f"{state.step:07d}.png", low[shown], restored[shown], high[shown])
    if scores.psnr > state.best_psnr:
        state.best_psnr = scores.psnr
        state.save(output / "best.pt", config)
    return scores.as_dict()


def _means(reports: list[Report]) -> Report:
    """Mean of each value over the steps that report it."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for report in reports:
        for name, value in report.items():
            values[name].append(value)
    return {name: fmean(over_steps) for name, over_steps in values.items()}


def _log_metrics(output: Path, step: int, stage: Stage, report: Report) -> None:
    row = {"step": step, "stage": stage, "time": time.time()} | report
    with (output / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    values = ", ".join(f"{name} {value:.4g}" for name, value in report.items())
    log.info("step %d, %s: %s", step, stage, values)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


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
    parser.add_argument("--resume", action="store_true", help="go on from last.pt in --output")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = load_config(options.config, options.set)
        if options.data:
            config = config.with_data(options.data)
        train(config, options.output, resume=options.resume)
    except (ValueError, OSError, NonFiniteGradientError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
