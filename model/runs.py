"""``python -m model.runs DIR [DIR...]``: compare the settings and results of training runs.

If two settings of a GAN's training change, nobody can tell which one made the difference.  Change
one at a time, log every run, and compare.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from model.training.config_file import flatten, load_config
from model.training.records import (
    EndRecord,
    HealthRecord,
    StartRecord,
    TrainRecord,
    ValidationRecord,
    read_records,
)
from model.training.run_folder import RunFolder
from model.training.schedule import Stage


@dataclass(frozen=True)
class Run:
    """The settings and results of a run."""

    name: str
    settings: dict[str, str]
    """All settings, by ``section.key``."""
    state: str
    """Why it ended, or ``running``, which also stands for a run that was killed."""
    steps: int
    seconds: float
    """Time spent on steps, without validation."""
    degraded_psnr: float | None
    best_psnr: float | None
    """The best of the last stage reached, which is the PSNR of ``best.pt``."""
    best_ssim: float | None
    """From the same validation as ``best_psnr``, like the next two."""
    best_sharpness: float | None
    best_step: int | None
    troubles: dict[str, int]
    """How often each health rule has warned."""


def read_run(path: Path) -> Run:
    """Read the folder of a run, which may still be running.  Raises OSError or ValueError."""
    folder = RunFolder(path)
    settings = flatten(load_config(folder.config, []))
    rows = read_records(folder.metrics)
    trained = [row for row in rows if isinstance(row, TrainRecord)]
    validated = [row for row in rows if isinstance(row, ValidationRecord)]
    joint = [row for row in validated if row.stage is Stage.JOINT]
    best = max(joint or validated, key=lambda row: row.psnr, default=None)
    starts = [row for row in rows if isinstance(row, StartRecord)]
    last = rows[-1] if rows else None
    return Run(
        name=str(path),
        settings=settings,
        state=last.reason if isinstance(last, EndRecord) else "running",
        steps=max((row.step for row in rows), default=0),
        seconds=sum(row.steps * row.seconds_per_step for row in trained),
        degraded_psnr=starts[-1].degraded_psnr if starts else None,
        best_psnr=best.psnr if best else None,
        best_ssim=best.ssim if best else None,
        best_sharpness=best.sharpness if best else None,
        best_step=best.step if best else None,
        troubles=dict(Counter(row.rule for row in rows if isinstance(row, HealthRecord))),
    )


def differing(runs: list[Run]) -> list[str]:
    """The names of the settings that differ between runs, sorted."""
    keys = sorted({key for run in runs for key in run.settings})
    return [key for key in keys if len({run.settings.get(key, "-") for run in runs}) > 1]


def table(runs: list[Run]) -> str:
    """A table with a column per run: the settings that differ, then the results."""
    settings = differing(runs)
    rows = [["", *(run.name for run in runs)]]
    rows += [[key, *(run.settings.get(key, "-") for run in runs)] for key in settings]
    rows.append([""] * (len(runs) + 1))
    rows.append(["state", *(run.state for run in runs)])
    rows.append(["steps", *(str(run.steps) for run in runs)])
    rows.append(["time", *(str(timedelta(seconds=round(run.seconds))) for run in runs)])
    rows.append(["degraded PSNR", *(_number(run.degraded_psnr, "{:.2f} dB") for run in runs)])
    rows.append(["best PSNR", *(_number(run.best_psnr, "{:.2f} dB") for run in runs)])
    rows.append(["SSIM there", *(_number(run.best_ssim, "{:.4f}") for run in runs)])
    rows.append(["sharpness there", *(_number(run.best_sharpness, "{:.3g}") for run in runs)])
    rows.append(["at step", *(_number(run.best_step, "{}") for run in runs)])
    for rule in sorted({rule for run in runs for rule in run.troubles}):
        rows.append([rule.replace("_", " "), *(f"{run.troubles.get(rule, 0)} x" for run in runs)])
    widths = [min(40, max(map(len, column))) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell[:width].ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    if len(settings) > 1 and len(runs) > 1:
        lines.append(f"\n{len(settings)} settings differ: which of them made the difference?")
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m model.runs", description=__doc__)
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="DIR", help="the run's --output folder"
    )
    parser.add_argument("--json", type=Path, help="write all settings and results to this file")
    options = parser.parse_args(arguments)
    try:
        runs = [read_run(path) for path in options.runs]
        if options.json:
            options.json.write_text(json.dumps([asdict(run) for run in runs], indent=2) + "\n")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(table(runs))


if __name__ == "__main__":
    main()
