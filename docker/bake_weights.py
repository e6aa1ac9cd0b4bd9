"""Put weights into an image: ``bake_weights.py FOLDER [NAME ...]``.

Downloads what is named into the folder, under the names that the service looks for there.
"""

import shutil
import sys
from pathlib import Path

from app.commands.weights_table import fetch
from app.settings import read_settings
from model.checkpoints.generator import WeightsError
from model.checkpoints.table import weights_named


def bake(folder: Path, names: list[str], cache_dir: Path) -> None:
    """Raises WeightsError."""
    for name in names:
        wanted = folder / weights_named(name).file_name
        found = fetch(name, folder, cache_dir)
        if found != wanted:
            shutil.copyfile(found, wanted)


if __name__ == "__main__":
    try:
        folder = Path(sys.argv[1])
        bake(folder, sys.argv[2:], read_settings(weights_dir=folder).cache_dir)
    except WeightsError as error:
        sys.exit(f"error: {error}")
