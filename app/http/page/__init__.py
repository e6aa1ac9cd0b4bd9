"""The demo page: what of the service's paths belongs to it."""

from __future__ import annotations

FILES = "/page/"
"""What the page loads is below this path."""


def is_page(path: str) -> bool:
    """Whether this is the demo page, or one of its files."""
    return path == "/" or path.startswith(FILES)
