"""``python -m model.train``: content stage, discriminator warm-up, joint training.

A run's folder holds ``last.pt`` and ``best.pt`` (checkpoints), ``metrics.jsonl``, ``config.yaml``
and ``samples/`` (LQ | restored | HQ).  Interrupted by SIGTERM or Ctrl-C, a run saves itself;
``--resume`` goes on with it.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from model import diffaugment, losses
from model.config import Config, load_config
from model.dataset import (
    DegradedFaces,
    EpochBatches,
    batches_per_epoch,
    evaluation_pairs,
    read_faces,
    split_holdout,
)
from model.evaluate import restore_all, save_grid
from model.metrics import score
from model.schedule import Stage, learning_rates, stage_at, total_epochs
from model.state import TrainingState

log = logging.getLogger(__name__)


def content_step(state: TrainingState, generate: Any, batch: _Batch) -> dict[str, float]:
    """One step of G on content losses alone."""
    train = batch.config.train
    with batch.autocast():
        restored = generate(batch.low)
    loss = losses.content_loss(restored.float(), batch.high, detail=train.losses.detail)
    _descend(state.optimizer_g, state.generator, loss, train.clip_grad_norm)
    return {"content": loss.item()}


def joint_step(
    state: TrainingState, generate: Any, batch: _Batch, *, train_g: bool
) -> dict[str, float]:
    """One step of D and, outside of warm-up, one of G on the same restored pictures."""
    train, weights = batch.config.train, batch.config.train.losses
    with batch.autocast(), torch.set_grad_enabled(train_g):
        restored = generate(batch.low).float()

    report = discriminator_step(state, restored.detach(), batch)
    if not train_g:
        return report

    state.discriminator.requires_grad_(False)
    variation = diffaugment.draw(len(restored), restored.device) if train.augment_d else None
    with batch.autocast():
        fake = state.discriminator.features(_vary(restored, variation))
        fake_logits = state.discriminator.score(fake)
        with torch.no_grad():
            real = state.discriminator.features(_vary(batch.high, variation))
    content = losses.content_loss(restored, batch.high, detail=weights.detail)
    adversarial = losses.generator_loss(fake_logits.float())
    matching = losses.feature_matching_loss([f.float() for f in fake], [r.float() for r in real])
    loss = (
        weights.content * content
        + weights.adversarial * adversarial
        + weights.feature_matching * matching
    )
    _descend(state.optimizer_g, state.generator, loss, train.clip_grad_norm)
    state.discriminator.requires_grad_(True)
    return report | {
        "content": content.item(),
        "adversarial": adversarial.item(),
        "feature_matching": matching.item(),
    }


def discriminator_step(state: TrainingState, fake: Tensor, batch: _Batch) -> dict[str, float]:
    """One step of D; every ``gp_interval`` steps with R1, in float32, times its interval."""
    train = batch.config.train
    variation = diffaugment.draw(len(fake), fake.device) if train.augment_d else None
    fake, real = _vary(fake, variation), _vary(batch.high, variation)
    with batch.autocast():
        fake_logits = state.discriminator(fake).float()
        real_logits = state.discriminator(real).float()
    loss = losses.discriminator_loss(real_logits, fake_logits)
    report = {
        "d": loss.item(),
        "d_real": real_logits.mean().item(),
        "d_fake": fake_logits.mean().item(),
        "d_real_sign": real_logits.sign().mean().item(),
    }
    if train.use_gradient_penalty and state.step % train.gp_interval == 0:
        real = real.detach().requires_grad_(True)
        penalty = losses.gradient_penalty(state.discriminator(real), real)
        loss = loss + train.r1_weight / 2 * train.gp_interval * penalty
        report["gradient_penalty"] = penalty.item()
    _descend(state.optimizer_d, state.discriminator, loss, train.clip_grad_norm)
    return report


@dataclass(frozen=True)
class _Batch:
    low: Tensor
    high: Tensor
    config: Config

    def autocast(self) -> torch.autocast:
        enabled = self.config.train.precision == "bf16"
        return torch.autocast(self.low.device.type, torch.bfloat16, enabled=enabled)


def _vary(x: Tensor, variation: diffaugment.Variation | None) -> Tensor:
    return x if variation is None else diffaugment.apply(x, variation)


def _descend(
    optimizer: torch.optim.Optimizer, network: nn.Module, loss: Tensor, max_norm: float
) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), max_norm, error_if_nonfinite=True)
    optimizer.step()


def train(config: Config, output: Path, *, resume: bool) -> None:
    """Run the configured training.  Raises RuntimeError when a gradient is no longer finite."""
    folder = config.data.folder
    if folder is None:
        raise ValueError("no data: give --data or set data.folder")
    trained_on, held_out = split_holdout(folder, config.data.holdout)
    size = config.train.img_size
    dataset = DegradedFaces(read_faces(trained_on, size), config.data.recipes, config.train.seed)
    low, high = evaluation_pairs(read_faces(held_out or trained_on[:64], size))
    log.info("%d faces to train on, %d to validate on", len(dataset), len(low))

    state = TrainingState.fresh(config)
    output.mkdir(parents=True, exist_ok=True)
    last = output / "last.pt"
    if resume:
        state.restore(last)
    (output / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    baseline = score(low, high)
    log.info("degraded: PSNR %.2f dB, SSIM %.4f", baseline.psnr, baseline.ssim)

    per_epoch = batches_per_epoch(len(dataset), config.train.batch_size)
    stop = total_epochs(config.train) * per_epoch
    batches = EpochBatches(
        len(dataset), config.train.batch_size, config.train.seed, state.step, stop
    )
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=config.data.workers)
    generate = torch.compile(state.generator) if config.train.compile else state.generator
    interrupted = _catch_signals()
    progress = tqdm(loader, initial=state.step, total=stop, unit="step", dynamic_ncols=True)
    started, since = time.monotonic(), state.step
    for low_batch, high_batch in progress:
        batch = _Batch(_channels_last(low_batch), _channels_last(high_batch), config)
        report = _step(state, generate, batch, per_epoch)
        progress.set_postfix({key: f"{value:.3f}" for key, value in report.items()})
        if state.step % per_epoch == 0:
            epoch = state.step // per_epoch
            report["seconds_per_step"] = (time.monotonic() - started) / (state.step - since)
            if epoch % config.train.validate_every == 0 or state.step == stop:
                report |= _validate(state, low, high, output, config)
            _log_metrics(output, state, report, stage_at(epoch - 1, config.train))
            state.save(last, config)
        if interrupted():
            state.save(last, config)
            log.info("stopped at step %d; --resume goes on", state.step)
            return


def _step(state: TrainingState, generate: Any, batch: _Batch, per_epoch: int) -> dict[str, float]:
    train = batch.config.train
    stage = stage_at(state.step // per_epoch, train)
    lr_g, lr_d = learning_rates(state.step, per_epoch, train)
    state.optimizer_g.param_groups[0]["lr"] = lr_g
    state.optimizer_d.param_groups[0]["lr"] = lr_d
    if stage is Stage.CONTENT:
        report = content_step(state, generate, batch)
    else:
        report = joint_step(state, generate, batch, train_g=stage is Stage.JOINT)
    state.step += 1
    if stage is not Stage.WARMUP:
        images = state.step * train.batch_size
        half_life = min(train.ema_half_life, images * 0.05)  # StyleGAN2-ADA's ramp-up
        state.update_ema(0.5 ** (train.batch_size / max(half_life, 1e-8)))
    return report | {"lr_g": lr_g, "lr_d": lr_d}


def _validate(
    state: TrainingState, low: Tensor, high: Tensor, output: Path, config: Config
) -> dict[str, float]:
    restored = restore_all(state.ema, low, config.train.batch_size)
    scores = score(restored, high)
    samples = output / "samples"
    samples.mkdir(exist_ok=True)
    shown = slice(None, None, max(1, len(low) // 8))
    save_grid(samples / f"{state.step:07d}.png", low[shown], restored[shown], high[shown])
    if scores.psnr > state.best_psnr:
        state.best_psnr = scores.psnr
        state.save(output / "best.pt", config)
    log.info("step %d: PSNR %.3f dB, SSIM %.4f", state.step, scores.psnr, scores.ssim)
    return scores.as_dict()


def _log_metrics(
    output: Path, state: TrainingState, report: dict[str, float], stage: Stage
) -> None:
    row = {"step": state.step, "stage": stage, "time": time.time()} | report
    with (output / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _catch_signals() -> Any:
    """A function that says whether SIGTERM or SIGINT came."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return lambda: bool(received)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of aligned faces (data.folder)")
    parser.add_argument("--output", type=Path, default=Path("runs/gpen"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    overrides = list(options.set)
    if options.data:
        overrides.append(f"data.folder={options.data}")
    try:
        config = load_config(options.config, overrides)
        train(config, options.output, resume=options.resume)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
