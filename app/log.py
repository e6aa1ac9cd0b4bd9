"""Logging to stderr, one line a record."""

from __future__ import annotations

import logging


def configure_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    for noisy in ("PIL", "asyncio", "multipart", "python_multipart", "matplotlib", "numba"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
