"""Looking up a file in a cache of ModelScope's, whichever client filled it.

The look-up is modelscope's own.  It needs no network, and prints nothing.
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
    """The file in ``cache``, if it is there complete.

    Layouts: ``models/OWNER--NAME/snapshots/REVISION/``, ``[hub/]models/OWNER/NAME/`` and
    ``[hub/]OWNER/NAME/``, newest client first.  The client wants a folder for its identifier,
    ``config_dir``; it does without if that cannot be written.
    """
    logging.getLogger("modelscope").setLevel(logging.WARNING)  # it reports each old folder
    # Without a token the client unpickles its cookies to look for one, and whoever can write there
    # could have any code run.
    api = HubApi(HubConfig(cache_dir=cache, config_dir=config_dir, token=""))
    # None: what modelscope_hub looks through
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
    """In the oldest layouts, which modelscope itself knows; None where it is not installed."""
    try:
        # it brings PyTorch along, and waits until there is a cache to look into
        from modelscope.hub.utils.utils import find_reusable_legacy_repo_dir  # noqa: PLC0415
    except ModuleNotFoundError:  # as in the image for serving
        return None
    folder: str | None = find_reusable_legacy_repo_dir(repository_id, cache_dir=cache)
    return folder
