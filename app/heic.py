"""HEIC, where the extra of that name is installed: libheif reads it, without an encoder."""

from __future__ import annotations

from importlib.util import find_spec


def register_heic() -> bool:
    """Whether Pillow reads HEIC from now on.

    Opening reads the header alone, so that sizes are checked before decoding; libheif's own limits
    stay as they are.  What it turns by itself it also calls upright.
    """
    if find_spec("pi_heif") is None:
        return False
    import pi_heif  # noqa: PLC0415  (an extra)

    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return True
