"""Settings as command-line flags: one flag per field, the same names."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from pydantic import SecretStr

from app.settings import Settings, read_settings


def add_settings(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Add ``--max-upload-mb`` and the like; what is not given comes from the environment.

    Secrets are no flags: whoever may list the machine's processes would see them.
    """
    group = parser.add_argument_group("settings (or environment, prefix GPEN_)")
    for name in names:
        field = Settings.model_fields[name]
        if field.annotation is SecretStr:
            continue
        default = "by device" if field.default is None else field.default
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help=f"{field.description} (default: {default})".replace("%", "%%"),
        )


def settings_from(options: argparse.Namespace) -> Settings:
    """Settings from the flags of :func:`add_settings`; ends the process if they make no sense."""
    given = {name: value for name, value in vars(options).items() if name in Settings.model_fields}
    return read_settings(**given)
