"""Reads and writes configurations as YAML, overrides single keys, and compares configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from model.files import written_whole
from model.training.config import Config
from model.training.length import Length

_Document = dict[str, Any]
"""Parsed YAML, before it is validated."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says in one line what is wrong."""


def load_config(path: Path, overrides: Sequence[str]) -> Config:
    """Read a configuration; ``overrides`` are ``section.key=value``, the value as YAML.

    YAML 1.1 parses ``1e-6`` as text because it has no dot; validation converts it to a number.
    Raises OSError, or ConfigError naming the key that is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_in_one_line(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} does not contain sections")
    return _checked(document, overrides, str(path))


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """Change some keys of a configuration, as :func:`load_config` does.  Raises ConfigError."""
    return _checked(config.model_dump(mode="json"), overrides, "--set")


def save_config(config: Config, path: Path) -> None:
    """Write a configuration for :func:`load_config`, atomically.  Raises OSError."""
    with written_whole(path) as file:
        yaml.safe_dump(config.model_dump(mode="json"), file, sort_keys=False, encoding="utf-8")


def flatten(config: Config) -> dict[str, str]:
    """Every setting as ``section.key``, with its value in JSON notation."""
    return dict(_leaves(config.model_dump(mode="json"), ""))


def differences(a: Config, b: Config) -> dict[str, tuple[str, str]]:
    """Settings that differ between two configurations, with both values; ``-`` if missing."""
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


def _checked(document: _Document, overrides: Sequence[str], source: str) -> Config:
    for override in overrides:
        _override(document, override)
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        complaints = "; ".join(_complaint(detail) for detail in error.errors())
        raise ConfigError(f"{source}: {complaints}") from error


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
            raise ConfigError(f"--set {override}: {section} is not a section")
    prefix, _, unit = key.rpartition("_")
    if unit in Length._fields:  # the recipe's length in another unit would contradict it
        for other in Length._fields:
            target.pop(f"{prefix}_{other}".lstrip("_"), None)
    try:
        target[key] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override} is not valid YAML: {_in_one_line(error)}") from error


def _complaint(detail: Mapping[str, Any]) -> str:
    """What is wrong with a key; for one that does not exist, also which key may have been meant."""
    location = detail["loc"]
    message: str = detail["msg"]
    if detail["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        message = "there is no such key"
        if similar := get_close_matches(str(location[-1]), _keys(location[:-1])):
            message += f"; did you mean {' or '.join(similar)}?"
    return ": ".join([".".join(map(str, location)), message]).removeprefix(": ")


def _keys(location: Sequence[int | str]) -> list[str]:
    """The keys of the section at a location."""
    fields = Config.model_fields
    for name in location:
        kind = fields[str(name)].annotation
        kinds = [kind, *getattr(kind, "__args__", ())]  # a section, or one that may be null
        sections = (getattr(each, "__pydantic_fields__", None) for each in kinds)
        fields = next((found for found in sections if found), {})
    return list(fields)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
