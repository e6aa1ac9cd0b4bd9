"""HEIC, where the extra is installed; elsewhere it is a foreign format."""

from __future__ import annotations

from base64 import b64decode
from importlib.util import find_spec
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.decode import decode, measure
from app.encode import encode
from app.errors import BrokenPicture, TooLarge, UnsupportedPicture
from tests.profiles import P3_PRIMARIES, rgb_profile

# 64 x 48 pixels: red, green, blue and light quarters; EXIF, and the profile of Display P3
HEIC = b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAA49tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAA"
    "AAAAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAADswABAAAAAAAAAQoAAgAAAAAEvQABAAAAAAAAADoAAAA4aWluZgAA"
    "AAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAACzmlwcn"
    "AAAAKuaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroC"
    "QGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAHkY29scn"
    "Byb2YAAAHYAAAAAAJAAABtbnRyUkdCIFhZWiAH5AABAAEAAAAAAABhY3NwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAA9tYAAQAAAADTLQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "lkZXNjAAAA8AAAAFxjcHJ0AAABTAAAAAx3dHB0AAABWAAAABRyWFlaAAABbAAAABRnWFlaAAABgAAAABRiWFlaAAAB"
    "lAAAABRyVFJDAAABqAAAABBnVFJDAAABuAAAABBiVFJDAAAByAAAABBkZXNjAAAAAAAAAAJhAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAHRl"
    "eHQAAAAAQ0MwAFhZWiAAAAAAAAD21gABAAAAANMtWFlaIAAAAAAAAIPfAAA9v////7tYWVogAAAAAAAASr8AALE3AA"
    "AKuVhZWiAAAAAAAAAoOAAAEQsAAMi5Y3VydgAAAAAAAAABAjMAAGN1cnYAAAAAAAAAAQIzAABjdXJ2AAAAAAAAAAEC"
    "MwAAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEH"
    "BpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAABppcmVmAAAAAAAAAA5jZHNjAAIAAQABAAABTG1k"
    "YXQAAAEGKAGvBPhBMZm/9Hv///KLnZfkSUW3G0tOxxx94i4/+kl//oG99QZa+frZNg9j7O0NGXp+jwPX+LtjLPP/RL"
    "iiykfvPxELRgUqC5ucRayUqXFzhkNr2oBmyUtTenRQWX9T86N8uyn/zxZ+2DOsVnx7UOxjcgQzVKwB7l7tf9X///mI"
    "6xIm+KDhyO84vXHQRBudpdSS7lsPjys8F4RoBhZAAA2zJDfEPctO2TsFNsgAARNFE0LAYo/c9QEnLBqSAAP+6pBD51"
    "tMVLE22qGAATAn+mrxBJvMo0IQbDhSuf219c6MhZ5mHEqsqE5fn0sCjuroc9La3627TRl/RJcfj/F77bz/8FcIOAAA"
    "AAZFeGlmAABNTQAqAAAACAACAQ8AAgAAAAkAAAAmARIAAwAAAAEABgAAAAAAAEEgY2FtZXJhAAA="
)
with_extra = pytest.mark.skipif(find_spec("pi_heif") is None, reason="the extra is not installed")


@pytest.mark.skipif(find_spec("pi_heif") is not None, reason="the extra is installed")
def test_without_the_extra_it_is_unsupported() -> None:
    with pytest.raises(UnsupportedPicture):
        decode(HEIC, 10_000)


@with_extra
def test_it_is_read_with_all_that_it_holds_and_becomes_png() -> None:
    photo = decode(HEIC, 10_000)
    assert (photo.file_format, photo.width, photo.height) == ("heic", 64, 48)
    assert photo.icc_profile == rgb_profile(P3_PRIMARIES)
    quarters = [photo.pixels[y, x].astype(int) for y, x in ((12, 16), (36, 16), (12, 48), (36, 48))]
    expected = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (220, 220, 220)]
    assert np.abs(np.array(quarters) - expected).max() <= 8
    picture = encode(photo, "same", 90, strip_metadata=False)
    with Image.open(BytesIO(picture.data)) as image:
        assert image.format == "PNG"
        assert image.getexif()[0x010F] == "A camera"
        assert image.info["icc_profile"] == photo.icc_profile


@with_extra
def test_it_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(TooLarge):
        measure(HEIC, 64 * 48 - 1)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(BrokenPicture):
            decode(HEIC[: int(len(HEIC) * share)], 10_000)
