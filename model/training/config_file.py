"""A run's configuration as YAML: read, overridden key by key, and compared with another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from model.files import written_whole
from model.training.config import Config

_Document = dict[str, Any]
"""As YAML has it, before it is checked."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says in one line what is wrong."""


def load_config(path: Path, overrides: list[str]) -> Config:
    """Read a configuration; ``overrides`` are ``section.key=value``, the value as YAML.

    YAML 1.1 takes ``1e-6`` for text, as it has no dot; a number it becomes all the same, where one
    belongs.  Raises OSError, or ConfigError naming the key that is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text())
        if not isinstance(document, dict):
            raise ConfigError(f"{path} holds no sections")
        for override in overrides:
            _override(document, override)
        return Config.model_validate(document)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path} or a --set is no YAML: {' '.join(str(error).split())}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_in_one_line(error)}") from error


def save_config(config: Config, path: Path) -> None:
    """Write a configuration that :func:`load_config` reads; whole at any time.  Raises OSError."""
    with written_whole(path) as file:
        yaml.safe_dump(config.model_dump(mode="json"), file, sort_keys=False, encoding="utf-8")


def flatten(config: Config) -> dict[str, str]:
    """Every setting, as ``section.key`` and its value in JSON's notation."""
    return dict(_leaves(config.model_dump(mode="json"), ""))


def differences(a: Config, b: Config) -> dict[str, tuple[str, str]]:
    """Settings in which two configurations differ, and both values; ``-`` where there is none."""
    ours, theirs = flatten(a), flatten(b)
    pairs = {key: (ours.get(key, "-"), theirs.get(key, "-")) for key in ours | theirs}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _leaves(section: _Document, prefix: str) -> list[tuple[str, str]]:
    leaves = []
    for key, value in section.items():
        if isinstance(value, dict):
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", "null" if value is None else str(value)))
    return leaves


def _override(document: _Document, override: str) -> None:
    dotted, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"--set takes section.key=value, not {override!r}")
    *sections, key = dotted.split(".")
    target = document
    for section in sections:
        if target.get(section) is None:
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section} is no section")
    target[key] = yaml.safe_load(value)


def _in_one_line(error: ValidationError) -> str:
    return "; ".join(
        ": ".join([".".join(map(str, detail["loc"])), detail["msg"]]).removeprefix(": ")
        for detail in error.errors()
    )
