"""``gpen weights list | download NAME | verify [NAME]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.commands.flags import add_settings, settings_from

_SETTINGS = ("weights_dir", "cache_dir")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("weights", help="list, download and verify weights")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what there is, where, under which licence")
    download = actions.add_parser("download", help="fetch what is not here")
    download.add_argument("name", metavar="NAME", help="one of those that `list` shows")
    verify = actions.add_parser("verify", help="check what is here")
    verify.add_argument("name", metavar="NAME", nargs="?", help="one of them (default: all)")
    for action in (listing, download, verify):
        add_settings(action, _SETTINGS)


def run(options: argparse.Namespace) -> int:
    """Exit status: 0, or 1 with one line on stderr for each fault."""
    from model.state_dicts import WeightsError  # noqa: PLC0415  (PyTorch; --help need not wait)

    settings = settings_from(options)
    try:
        return _run(options, settings.weights_dir, settings.cache_dir)
    except WeightsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, weights_dir: Path, cache_dir: Path) -> int:
    from app.commands.weights_table import fetch, table, verify_here  # noqa: PLC0415  (likewise)

    if options.action == "list":
        print(table(weights_dir, cache_dir))
        return 0
    if options.action == "download":
        print(fetch(options.name, weights_dir, cache_dir))
        return 0
    status = 0
    for verdict in verify_here(options.name, weights_dir, cache_dir):
        if verdict.fault is None:
            print(f"{verdict.name}: {verdict.path} is good (checked: {', '.join(verdict.checked)})")
        else:
            print(f"error: {verdict.name}: {verdict.fault}", file=sys.stderr)
            status = 1
    return status
