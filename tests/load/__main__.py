"""``python -m tests.load``: what a service under load does to its clients, as one table.

    python -m tests.load [--scenario NAME ...] [--checkout FOLDER] [--json FILE]

Each scenario has a server of its own, with the bundled weights, on this machine; the clients share
the machine with it, and go first where the system allows it.  With ``--checkout``, another working
copy of the repository serves as well, immediately before this one, and has a column of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.load.crowds import Row
from tests.load.scenarios import SCENARIOS
from tests.soak.figures import table
from tests.soak.scenarios import MODEL

_FIRST = -10  # niceness of the clients: their clocks are to measure the server
_WIDTH = 52  # characters of a column


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS))
    parser.add_argument("--checkout", type=Path, metavar="FOLDER", help="to compare with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    options = parser.parse_args()
    checkouts = [REPOSITORY] if options.checkout is None else [options.checkout, REPOSITORY]
    for checkout in checkouts:
        _prepare(checkout)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _FIRST)
    results: dict[str, list[Row]] = {}
    for name in options.scenario or SCENARIOS:
        results[name] = [SCENARIOS[name].run(checkout) for checkout in checkouts]
        print(f"\n{SCENARIOS[name].title}\n{_table(results[name])}", flush=True)
        if options.json is not None:  # after each, in case that the next one breaks
            options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _prepare(checkout: Path) -> None:
    """Have the starter's engines ready, as they are from a service's second start on."""
    command = [sys.executable, "-m", "app.cli", "prepare", "--model", MODEL]
    subprocess.run(command, check=True, cwd=checkout)


def _table(rows: list[Row]) -> str:
    """A line a figure, a column a row."""
    figures = list(dict.fromkeys(figure for row in rows for figure in row))
    lines: list[list[str]] = []
    for figure in figures:
        columns = [textwrap.wrap(row.get(figure, ""), _WIDTH) for row in rows]
        for i in range(max(map(len, columns))):
            cells = [column[i] if i < len(column) else "" for column in columns]
            lines.append([f"  {figure if i == 0 else ''}", *cells])
    return table(lines)


if __name__ == "__main__":
    sys.exit(main())
