"""Settings as command-line flags: one flag per setting, under the same name."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from pydantic import SecretStr

from app.settings import Settings, read_settings


def add_settings(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Add flags such as ``--max-upload-mb``; settings without a flag come from the environment.

    Secrets have no flags, because anybody who may list the machine's processes could read them.
    """
    group = parser.add_argument_group("settings (or environment, prefix GPEN_)")
    for name in names:
        field = Settings.model_fields[name]
        if field.annotation is SecretStr:
            continue
        default = "" if field.default in (None, "") else f" (default: {field.default})"
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help=f"{field.description}{default}".replace("%", "%%"),
        )


def settings_from(options: argparse.Namespace) -> Settings:
    """Settings from the flags of :func:`add_settings`.  Exits with one line if they are invalid."""
    given = {name: value for name, value in vars(options).items() if name in Settings.model_fields}
    return read_settings(**given)
