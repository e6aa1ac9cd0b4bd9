"""What becomes of photos, their names and what they say of themselves; and what is said of that."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from app.http.page.routes import read_words
from tests.conftest import REPOSITORY, Server

_NAME = "somebody-at-home.jpg"
_LATITUDE = (48.0, 51.0, 29.5)


def photo(astronaut: NDArray[np.uint8]) -> bytes:
    """With the place where it was taken."""
    picture = Image.fromarray(astronaut)
    exif = picture.getexif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: _LATITUDE}
    )
    buffer = BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def latitude(data: bytes) -> object:
    gps = Image.open(BytesIO(data)).getexif().get_ifd(ExifTags.IFD.GPSInfo)
    return gps.get(ExifTags.GPS.GPSLatitude)


@pytest.mark.parametrize("strip", [False, True])
def test_the_place_is_kept_unless_it_is_to_be_removed(
    server: Server, astronaut: NDArray[np.uint8], *, strip: bool
) -> None:
    answer = httpx2.post(
        f"{server.url}/enhance",
        files={"file": (_NAME, photo(astronaut))},
        data={"strip_metadata": str(strip).lower()},
        timeout=120,
    )
    assert answer.status_code == 200
    assert latitude(answer.content) == (None if strip else _LATITUDE)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at Linux's list of open files")
def test_names_are_not_logged_and_nothing_is_written(
    server: Server, astronaut: NDArray[np.uint8]
) -> None:
    for data in (photo(astronaut), b"\xff\xd8\xff broken"):
        files = {"file": (_NAME, data)}
        httpx2.post(f"{server.url}/enhance", files=files, timeout=120)
    assert _NAME not in server.log.read_text()
    opened = [str(link.readlink()) for link in Path(f"/proc/{server.process.pid}/fd").iterdir()]
    written = [path for path in opened if path.startswith("/") and Path(path).is_file()]
    assert {path for path in written if "/dev/" not in path} <= {str(server.log)}


def test_the_page_and_the_documents_say_so() -> None:
    for words in read_words().values():
        assert "GPS" in words["privacy"]
        assert words["more_options"] in words["privacy"]  # where it is removed
    for document in ("README.md", "README.zh-CN.md", "docs/operations.md"):
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        assert "GPS" in text, document
    for document in ("SECURITY.md", "docs/threat-model.md"):
        assert (REPOSITORY / document).stat().st_size > 2000


def test_the_threat_model_is_one_page() -> None:
    text = (REPOSITORY / "docs" / "threat-model.md").read_text(encoding="utf-8")
    assert len(text.split()) < 800
