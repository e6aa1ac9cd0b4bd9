"""The results of an evaluation, as a table, JSON, CSV and a picture."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluation.grid import Levels
from model.evaluation.metrics import Appearance, Scores, summarise

_GRID_ROWS = 16
_WEIGHTS = ("lpips", "identity", "fid")
"""Scores that are measured if the weights of their networks are given."""
_EXTRAS = {"train": ("perceptual",), "evaluate": ("dlib_distance", "same_person")}
"""Scores that are measured if an extra of the package is installed."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of faces before and after restoration."""

    names: list[str] = field(default_factory=list)
    """Paths of the faces, relative to their folder, in the order of the scores."""
    scores: dict[str, list[Scores]] = field(
        default_factory=lambda: {"degraded": [], "restored": []}
    )
    appearances: dict[str, list[Appearance]] = field(
        default_factory=lambda: {"degraded": [], "restored": [], "original": []}
    )
    fid: dict[str, float] = field(default_factory=dict)
    """Over all faces together."""
    rows: dict[str, list[Levels]] = field(default_factory=dict)
    """Pictures LQ | restored | HQ of the first faces of each group."""

    def add_rows(self, names: Iterable[str], grid: Levels) -> None:
        """Store the rows of ``grid``, one per name, that :meth:`picture` may need."""
        names = list(names)
        for name, row in zip(names, np.split(grid, len(names)), strict=True):
            rows = self.rows.setdefault(group_of(name), [])
            if len(rows) < _GRID_ROWS:
                rows.append(row.copy())

    def picture(self) -> Levels:
        """The first 16 faces, with the same number from each group."""
        per_group = max(1, _GRID_ROWS // len(self.rows))
        rows = [row for group in self.rows.values() for row in group[:per_group]]
        return np.concatenate(rows[:_GRID_ROWS])

    def groups(self) -> dict[str, Evaluation]:
        """An evaluation for each group (``group_of``); empty if there is only one."""
        members: dict[str, list[int]] = {}
        for i, name in enumerate(self.names):
            members.setdefault(group_of(name), []).append(i)
        if len(members) < 2:
            return {}
        return {
            group: Evaluation(
                [self.names[i] for i in indices],
                {when: [scores[i] for i in indices] for when, scores in self.scores.items()},
                {when: [looks[i] for i in indices] for when, looks in self.appearances.items()},
            )
            for group, indices in members.items()
        }

    def summaries(self) -> dict[str, dict[str, float]]:
        """The summarised scores of degraded, restored and original faces."""
        summaries = {}
        for name, appearances in self.appearances.items():
            summary = summarise(self.scores[name]).as_dict() if name in self.scores else {}
            summary |= summarise(appearances).as_dict()
            summaries[name] = summary | ({"fid": self.fid[name]} if name in self.fid else {})
        return {name: summary for name, summary in summaries.items() if summary}

    def as_json(self) -> dict[str, Any]:
        """The summaries, and those of each group under ``groups`` if there are several."""
        groups = {name: group.summaries() for name, group in self.groups().items()}
        return self.summaries() | ({"groups": groups} if groups else {})


def group_of(name: str) -> str:
    """The first folder of a face's path, such as ``studio``, or ``.`` if there is none."""
    return next(iter(Path(name).parent.parts), ".")


def table(evaluation: Evaluation) -> str:
    """The scores as text: each group's, then those of all faces, then what was not measured."""
    blocks = [
        f"{name}, {len(group.names)} faces\n{_lines(group)}"
        for name, group in evaluation.groups().items()
    ]
    whole = _lines(evaluation)
    blocks.append(f"all {len(evaluation.names)} faces\n{whole}" if blocks else whole)
    return "\n\n".join(blocks) + _not_measured(evaluation.summaries()["restored"])


def _lines(evaluation: Evaluation) -> str:
    return "\n".join(
        f"{name:10} {'  '.join(_column(key, value) for key, value in summary.items())}"
        for name, summary in evaluation.summaries().items()
    )


def _column(key: str, value: float) -> str:
    if key == "psnr":
        return f"PSNR {value:6.2f} dB"
    if key == "ssim":
        return f"SSIM {value:.4f}"
    return f"{key} {value:.4g}"


def _not_measured(measured: dict[str, float]) -> str:
    lines = ""
    for extra, names in _EXTRAS.items():
        if not measured.keys() & names:
            lines += f"\nnot measured: {', '.join(names)} (pip install 'gpen-portrait[{extra}]')"
    missing = [f"--{name}-weights" for name in _WEIGHTS if name not in measured]
    if missing:
        lines += f"\nnot measured without the weights of their networks: {', '.join(missing)}"
    return lines


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """Write a row per face with its name and all scores.  Raises OSError."""
    columns = [
        f"{when}_{key}"
        for when, summary in evaluation.summaries().items()
        for key in summary
        if key != "fid"  # which is over all faces together
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["face", *columns])
        writer.writeheader()
        for i, name in enumerate(evaluation.names):
            measured = {
                f"{when}_{key}": value
                for when, appearances in evaluation.appearances.items()
                for each in (*evaluation.scores.get(when, [])[i : i + 1], appearances[i])
                for key, value in each.as_dict().items()
            }
            writer.writerow({"face": name} | measured)
