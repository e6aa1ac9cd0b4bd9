"""Paths that modules other than their routes must know."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette._utils import get_route_path  # what the router uses; it is not exported

ENHANCE = "/enhance"
PAGE_FILES = "/page/"
OPENAPI = "/openapi.json"
_DOCS = "/docs"


def route_path(scope: MutableMapping[str, Any]) -> str:
    """The path as the router sees it: without a proxy's prefix (ASGI's ``root_path``).

    Call it before the request is routed, because a mounted application changes the prefix.
    """
    return get_route_path(scope)


def is_probe(path: str) -> bool:
    """Whether this is ``/health`` or below it."""
    return path == "/health" or path.startswith("/health/")


def is_docs(path: str) -> bool:
    """Whether this is the documentation, or a file that it loads."""
    return path in (_DOCS, OPENAPI) or path.startswith(_DOCS + "/")


def is_docs_page(path: str) -> bool:
    return path == _DOCS


def is_page(path: str) -> bool:
    """Whether this is the demo page, or one of its files."""
    return path == "/" or path.startswith(PAGE_FILES)


def is_routine(scope: MutableMapping[str, Any]) -> bool:
    """Whether this is a probe or a scrape, of which there are too many to log or trace."""
    path = route_path(scope)
    return is_probe(path) or path == "/metrics"
