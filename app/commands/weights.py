"""``gpen weights list | download NAME | verify [NAME]``: manage weights."""

from __future__ import annotations

import argparse

from app.commands.flags import add_settings, settings_from
from app.commands.photos import fail

_SETTINGS = ("weights_dir", "cache_dir")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("weights", help="list, download and verify weights")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser(
        "list", help="list all weights, where they are, and their licences"
    )
    download = actions.add_parser("download", help="download weights from ModelScope")
    download.add_argument("name", metavar="NAME", help="a name that `list` shows")
    verify = actions.add_parser("verify", help="check the weights on this machine")
    verify.add_argument(
        "name", metavar="NAME", nargs="?", help="a name that `list` shows (default: all)"
    )
    for action in (listing, download, verify):
        add_settings(action, _SETTINGS)


def run(options: argparse.Namespace) -> int:
    """Returns the exit status: 0, or 1 with one line on stderr for each fault."""
    settings = settings_from(options)
    folders = settings.weights_dir, settings.cache_dir

    from app.commands.weights_table import fetch, table, verify_here  # noqa: PLC0415  (PyTorch)
    from model.state_dicts import WeightsError  # noqa: PLC0415

    try:
        if options.action == "verify":
            return verify_here(options.name, *folders)
        print(table(*folders) if options.action == "list" else fetch(options.name, *folders))
        return 0
    except WeightsError as error:
        return fail(str(error))
