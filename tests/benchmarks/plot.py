"""``python -m tests.benchmarks.plot RESULTS.json... -o bench.png``: the engines' figures, drawn."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def draw(results: Sequence[dict[str, Any]], target: Path) -> None:
    """Milliseconds a face by batch, a panel for each network, a bar for each contestant."""
    from matplotlib.figure import Figure

    panels = [(network, result["machine"]) for result in results for network in result["networks"]]
    figure = Figure(figsize=(6 * len(panels), 5), layout="constrained")
    for axes, (network, machine) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        bars = network["figures"]
        names = list(dict.fromkeys(bar["contestant"] for bar in bars))
        batches = sorted({bar["batch"] for bar in bars})
        width = 0.8 / len(names)
        for i, name in enumerate(names):
            ms = {bar["batch"]: bar["ms"] for bar in bars if bar["contestant"] == name}
            places = [batches.index(batch) + (i + 0.5) * width - 0.4 for batch in ms]
            drawn = axes.bar(places, list(ms.values()), width, label=name)
            axes.bar_label(drawn, fmt="%.3g", fontsize=6, rotation=90, padding=2)
        axes.set_xticks(range(len(batches)), [str(batch) for batch in batches])
        axes.set_yscale("log")
        axes.margins(y=0.15)
        axes.set_xlabel("faces a batch")
        axes.set_ylabel("ms a face")
        device = machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores"
        axes.set_title(f"{network['size']} px on {device}, {machine['date'][:10]}", fontsize=9)
        axes.legend(fontsize=7)
    figure.savefig(target, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plot", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="of tests.benchmarks.engine")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench.png"))
    options = parser.parse_args()
    results = [json.loads(path.read_text()) for path in options.results]
    engines = [result for result in results if result["benchmark"] == "engine"]
    if not engines:
        sys.exit("error: none of these files is of tests.benchmarks.engine")
    draw(engines, options.output)


if __name__ == "__main__":
    main()
