"""The command ``gpen`` and its subcommands."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib.metadata import version

from app.commands import crop, enhance, prepare, serve, weights
from app.cores import core_count


def main(arguments: list[str] | None = None) -> None:
    """Run a subcommand and exit with its status."""
    parser = argparse.ArgumentParser(prog="gpen", description="Restore the faces of photos.")
    parser.add_argument("--version", action="version", version=version("gpen-portrait"))
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (serve, enhance, crop, weights, prepare):
        command.add_parser(subparsers)
    options = parser.parse_args(arguments)
    # before PyTorch is imported, which reads it then; it does not know a container's quota
    os.environ.setdefault("OMP_NUM_THREADS", str(core_count()))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid text
    try:
        sys.exit(options.run(options))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
