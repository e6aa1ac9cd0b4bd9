"""Finds files in a ModelScope cache, with modelscope's own look-up for all versions of its layout.

It needs no network and prints nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path

from modelscope_hub import CacheNotFound, HubApi, HubConfig


def default_cache() -> Path | None:
    """``MODELSCOPE_CACHE``, or modelscope's default; None for a user without a home folder."""
    try:
        return HubConfig(endpoint=HubConfig.normalize_endpoint(None), token="").cache_dir
    except RuntimeError:
        return None


def find_cached(cache: Path, repository_id: str, file: str, config_dir: Path) -> Path | None:
    """The file in ``cache``, if it is complete.

    Layouts: ``models/OWNER--NAME/snapshots/REVISION/``, ``[hub/]models/OWNER/NAME/`` and
    ``[hub/]OWNER/NAME/``, newest client first.  The client stores an identifier in
    ``config_dir``, if it can write there.
    """
    logging.getLogger("modelscope").setLevel(logging.WARNING)  # it reports each old folder
    # Without a token, the client unpickles its cookies to look for one, so that anyone who can
    # write them could run any code.
    api = HubApi(HubConfig(cache_dir=cache, config_dir=config_dir, token=""))
    # None: the layouts that modelscope_hub knows
    for folder in (None, _older_folder(repository_id, cache)):
        try:
            return api.download_file(
                repository_id,
                "model",
                file,
                cache_dir=cache,
                local_dir=folder,
                local_files_only=True,
            )
        except CacheNotFound:
            continue
    return None


def _older_folder(repository_id: str, cache: Path) -> str | None:
    """The folder in the oldest layouts, which only modelscope knows; None if not installed."""
    try:
        # imported here because it imports PyTorch
        from modelscope.hub.utils.utils import find_reusable_legacy_repo_dir  # noqa: PLC0415
    except ModuleNotFoundError:  # the image for serving does not have it
        return None
    folder: str | None = find_reusable_legacy_repo_dir(repository_id, cache_dir=cache)
    return folder
