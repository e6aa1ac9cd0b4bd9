"""From a photo to its download, as users with a mouse, a finger or a camera go."""

from __future__ import annotations

import base64
import shlex
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import Opening, encoded, give, wait_until_restored
from tests.client import enhance
from tests.conftest import Server

pytestmark = pytest.mark.browser

_EVENT_WITH_FILE = """([target, kind, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name));
    const about = { bubbles: true, cancelable: true };
    const event = kind === "paste"
        ? new ClipboardEvent(kind, { ...about, clipboardData: carried })
        : new DragEvent(kind, { ...about, dataTransfer: carried });
    document.querySelector(target).dispatchEvent(event);
}"""


def downloaded(page: Page) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.click("#download")
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def split(page: Page) -> int:
    return int(page.input_value("#split"))


def test_a_photo_is_restored_and_downloaded(page: Page, server: Server, jpeg: bytes) -> None:
    give(page, jpeg, "Eileen Collins.jpg")
    wait_until_restored(page)
    assert page.inner_text("#status").startswith("Done: 1 of 1 faces restored in ")
    assert page.inner_text("#summary").count("512") == 2
    assert "gpen-starter-256" in page.inner_text("#summary")
    assert page.locator("#timings-list dt").all_inner_texts() == [
        *("Wait", "Decode", "Detect", "Queue", "Restore", "Paste", "Encode", "Other")
    ]
    name, data = downloaded(page)
    assert name == "Eileen Collins-restored.jpg"
    assert data == enhance(server, jpeg).content


def test_the_sample(page: Page) -> None:
    page.click("#sample")
    wait_until_restored(page)
    assert page.inner_text("#summary dd >> nth=0") == "1 of 1"


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_photo_that_is_dropped_or_pasted(page: Page, jpeg: bytes, kind: str) -> None:
    data = base64.b64encode(jpeg).decode()
    if kind == "drop":
        page.evaluate(_EVENT_WITH_FILE, ["#drop", "dragover", "a.jpg", data])
        assert page.is_visible("#veil")
    page.evaluate(_EVENT_WITH_FILE, ["#drop", kind, "a.jpg", data])
    wait_until_restored(page)
    assert not page.is_visible("#veil")


def test_a_photo_from_the_camera(page: Page) -> None:
    page.click("#use-camera")
    page.wait_for_selector("#camera-take:enabled")
    page.click("#camera-take")
    page.wait_for_selector("#camera", state="hidden")
    wait_until_restored(page)
    assert "no face was found" in page.inner_text("#status")  # the browser's is a test pattern
    assert downloaded(page)[0] == "camera-restored.jpg"

    page.click("#choose-another")  # the camera is let go, and may be turned down
    assert page.evaluate("document.getElementById('camera-view').srcObject") is None


def test_a_phone_has_a_camera_application(opening: Opening, jpeg: bytes) -> None:
    with opening(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as page:
        assert not page.is_visible(".drop-title")  # nobody drops anything there
        page.on("filechooser", lambda _: None)  # the browser is slow to hear that somebody waits
        page.reload()
        with page.expect_file_chooser() as chooser:
            page.tap("#use-camera")
        assert chooser.value.element.get_attribute("capture") == "user"
        chooser.value.set_files({"name": "1.jpg", "mimeType": "image/jpeg", "buffer": jpeg})
        wait_until_restored(page)


def test_the_slider_by_mouse_and_keyboard(page: Page, jpeg: bytes) -> None:
    give(page, jpeg)
    wait_until_restored(page)
    assert split(page) == 50
    box = page.locator("#comparison").bounding_box()
    assert box is not None
    x, y = box["x"], box["y"] + box["height"] / 2
    page.mouse.move(x + box["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] * 0.2, y, steps=4)
    assert split(page) == 20
    page.mouse.up()
    page.mouse.move(x + box["width"] * 0.9, y)
    assert split(page) == 20  # let go

    page.keyboard.press("ArrowRight")
    assert split(page) == 21
    page.keyboard.press("Home")
    assert split(page) == 0
    assert page.get_attribute("#split", "aria-valuetext") == "0% before"
    clipped = "getComputedStyle(document.querySelector('.after')).clipPath"
    assert page.evaluate(clipped) == "inset(0px 0px 0px 0%)"


def test_the_slider_by_touch(opening: Opening, jpeg: bytes) -> None:
    with opening(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as page:
        give(page, jpeg)
        wait_until_restored(page)
        page.locator("#comparison").scroll_into_view_if_needed()
        box = page.locator("#comparison").bounding_box()
        assert box is not None
        page.touchscreen.tap(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
        assert split(page) == 75
        assert page.evaluate("getComputedStyle(comparison).touchAction") == "pan-y"


def test_zoom_and_marks(page: Page, astronaut: NDArray[np.uint8]) -> None:
    pair = np.hstack([astronaut, astronaut[:, ::-1]])
    give(page, encoded(pair, "PNG"), "pair.png")
    wait_until_restored(page)
    page.wait_for_selector("#faces:visible")
    faces = page.locator("#faces button")
    assert faces.count() == 3
    assert page.evaluate("getComputedStyle(after).transform") == "matrix(1, 0, 0, 1, 0, 0)"
    faces.nth(1).click()
    assert faces.nth(1).get_attribute("aria-pressed") == "true"
    scale = "new DOMMatrix(getComputedStyle({}).transform).a"
    assert page.evaluate(scale.format("after")) == page.evaluate(scale.format("before")) > 2
    faces.nth(0).click()
    assert page.evaluate(scale.format("after")) == 1

    assert not page.is_visible("#marks")
    page.click("#show-marks")
    assert page.is_visible("#marks")
    assert page.locator("#marks rect").count() == 2
    assert page.locator("#marks circle").count() == 10
    inside = """() => {
        const whole = comparison.getBoundingClientRect();
        return [...document.querySelectorAll("#marks rect")].every((mark) => {
            const { left, right, top, bottom } = mark.getBoundingClientRect();
            return left > whole.left && right < whole.right && top > whole.top
                && bottom < whole.bottom && right - left > 30;
        });
    }"""
    assert page.evaluate(inside)


def test_a_face_that_is_left_as_it_was_says_why(page: Page, astronaut: NDArray[np.uint8]) -> None:
    small = cv2.copyMakeBorder(astronaut[:300, 80:380], 0, 212, 0, 0, cv2.BORDER_CONSTANT)
    give(page, encoded(np.hstack([astronaut, np.asarray(small, dtype=np.uint8)]), "PNG"))
    page.check("[name=faces][value=largest]", force=True)
    page.click("#restore")
    page.wait_for_selector("#summary:has-text('1 of 2')")
    page.click("#faces .left-out")
    assert "not selected" in page.inner_text("#face-note")
    page.click("#faces .whole")
    assert page.inner_text("#face-note") == ""


def test_options_are_sent_and_shown_as_a_command(page: Page, server: Server, jpeg: bytes) -> None:
    page.check("[name=upscale][value='2']", force=True)
    page.check("[name=faces][value=largest]", force=True)
    page.fill("#strength", "0.5")
    page.click("details summary")
    page.select_option("#format", "webp")
    page.fill("#quality", "60")
    page.check("[name=strip_metadata]")
    give(page, jpeg)
    wait_until_restored(page)
    chosen: dict[str, Any] = {"upscale": 2, "faces": "largest", "strength": 0.5}
    chosen |= {"format": "webp", "quality": 60, "strip_metadata": "true"}
    name, data = downloaded(page)
    assert name == "photo-restored.webp"
    assert data == enhance(server, jpeg, **chosen).content
    command = shlex.split(page.inner_text("#command"))
    assert command[:3] == ["curl", "-F", "file=@photo.jpg"]
    assert set(command[4:-3:2]) == {f"{key}={value}" for key, value in chosen.items()}
    assert command[-3:] == [f"{server.url}/enhance", "-o", "restored.webp"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("name", ['a\'b "c"; $(d),`e`\\.jpg', "-x.jpg", "人像.jpg", "plain.jpg"])
def test_the_command_does_the_same(
    opening: Opening, server: Server, jpeg: bytes, tmp_path: Path, name: str
) -> None:
    with opening(permissions=["clipboard-read", "clipboard-write"]) as page:
        give(page, jpeg, name)
        wait_until_restored(page)
        page.click("#copy")
        page.wait_for_selector("#status:text-is('Copied.')")
        command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("curl ")
    (tmp_path / name).write_bytes(jpeg)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "restored.jpg").read_bytes() == enhance(server, jpeg).content


def test_other_options_restore_the_same_photo_again(page: Page, jpeg: bytes) -> None:
    assert page.is_disabled("#restore")
    give(page, jpeg)
    wait_until_restored(page)
    page.check("[name=upscale][value='2']", force=True)
    page.click("#restore")
    page.wait_for_selector("#summary:has-text('1,024')")
    assert page.evaluate("[before.naturalWidth, after.naturalWidth]") == [512, 1024]
    sizes = "[before, after].map((image) => image.getBoundingClientRect().width)"
    assert len(set(page.evaluate(sizes))) == 1


def test_pictures_that_the_browser_cannot_show(page: Page, astronaut: NDArray[np.uint8]) -> None:
    """Chromium shows no TIFF: the service turns it into what the slider needs."""
    give(page, encoded(astronaut, "TIFF"), "scan.tif")
    wait_until_restored(page)
    assert page.evaluate("before.naturalWidth") == 512
    assert not page.is_visible("#no-preview")
    name, data = downloaded(page)
    assert name == "scan-restored.png"
    assert Image.open(BytesIO(data)).format == "PNG"


def test_a_photo_that_lies_on_its_side(page: Page, astronaut: NDArray[np.uint8]) -> None:
    """Camera and browser agree on what is up, and so does the result."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = np.ascontiguousarray(np.rot90(astronaut[:, 60:450]))
    give(page, encoded(lying, "JPEG", exif=exif))
    wait_until_restored(page)
    for image in ("before", "after"):
        assert page.evaluate(f"[{image}.naturalWidth, {image}.naturalHeight]") == [390, 512]
    assert page.locator("#faces .thumbnail").count() == 1


def test_a_new_photo_takes_the_place_of_one_that_is_being_restored(
    page: Page, astronaut: NDArray[np.uint8], jpeg: bytes
) -> None:
    large = cv2.resize(astronaut, (3000, 3000), interpolation=cv2.INTER_CUBIC)
    give(page, encoded(np.asarray(large, dtype=np.uint8), "JPEG", quality=95), "large.jpg")
    page.wait_for_selector("#comparison[data-working='sending'], [data-working='restoring']")
    give(page, jpeg, "small.jpg")
    wait_until_restored(page)
    assert page.inner_text("#summary").count("512") == 2
    assert downloaded(page)[0] == "small-restored.jpg"


def test_large_photos(page: Page, astronaut: NDArray[np.uint8]) -> None:
    """12 megapixels: the page still draws while they are on their way."""
    large = np.asarray(cv2.resize(astronaut, (4000, 3000)), dtype=np.uint8)
    page.evaluate("""() => {
        window.drawn = 0;
        const count = () => {
            if (comparison.dataset.working) window.drawn += 1;
            requestAnimationFrame(count);
        };
        count();
    }""")
    give(page, encoded(large, "JPEG", quality=95), "large.jpg")
    wait_until_restored(page)
    assert page.evaluate("drawn") > 5
    assert page.evaluate("[after.naturalWidth, after.naturalHeight]") == [4000, 3000]
