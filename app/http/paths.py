"""What is where: the paths that other modules than their routes must know."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette._utils import get_route_path  # what the router itself matches; it has no other name

ENHANCE = "/enhance"
OPENAPI = "/openapi.json"
_DOCS = "/docs"


def route_path(scope: MutableMapping[str, Any]) -> str:
    """The path as the router sees it: without the prefix of a proxy (ASGI's ``root_path``).

    To be asked on the way in: a mounted application changes the prefix.
    """
    return get_route_path(scope)


def is_probe(path: str) -> bool:
    """Whether this is ``/health`` or below it."""
    return path == "/health" or path.startswith("/health/")


def is_docs(path: str) -> bool:
    """Whether this is the documentation, or something that its page loads."""
    return path in (_DOCS, OPENAPI) or path.startswith(_DOCS + "/")


def is_docs_page(path: str) -> bool:
    return path == _DOCS


def is_routine(scope: MutableMapping[str, Any]) -> bool:
    """Probes and scrapes, of which there are many and none is of interest."""
    path = route_path(scope)
    return is_probe(path) or path == "/metrics"
