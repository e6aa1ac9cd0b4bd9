"""HEIC, as telephones write it: HEVC stills and grids of them, in HEIF files.

``find_still`` walks the file and checks every size; ``read_still`` decodes what was found, from a
file of its own that holds the picture alone.
"""

from app.imaging.heic.read import check_installed, is_heic, read_still
from app.imaging.heic.still import Still, find_still

__all__ = ["Still", "check_installed", "find_still", "is_heic", "read_still"]
