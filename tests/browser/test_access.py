"""The page for everybody: by keyboard alone, on a phone, with a screen reader, in Chinese."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Opening, give, wait_until_restored

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1440, "height": 900}}


def violations(page: Page) -> list[dict[str, Any]]:
    found = Axe().run(page).response["violations"]
    return [{"id": v["id"], "nodes": [n["html"] for n in v["nodes"]]} for v in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(
    opening: Opening, jpeg: bytes, scheme: Literal["light", "dark"], device: dict[str, Any]
) -> None:
    with opening(color_scheme=scheme, **device) as page:
        assert violations(page) == []
        page.click("details summary")
        give(page, jpeg)
        wait_until_restored(page)
        page.click("#show-marks")
        page.wait_for_selector("#faces:visible")
        assert violations(page) == []
        give(page, b"no picture at all", "notes.txt")
        page.wait_for_selector("#problem:visible")
        assert violations(page) == []


def test_axe_finds_something_where_there_is_something(page: Page) -> None:
    page.evaluate("document.querySelector('label[for=strength]').remove()")
    assert "label" in [violation["id"] for violation in violations(page)]


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_nothing_is_wider_than_the_screen(opening: Opening, jpeg: bytes, width: int) -> None:
    with opening(viewport={"width": width, "height": 800}) as page:
        page.click("details summary")
        for _ in range(2):
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            give(page, jpeg, "a name that goes on and on without an end.jpg")
            wait_until_restored(page)


def tab_to(page: Page, element_id: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == element_id:
            return
    pytest.fail(f"#{element_id} cannot be reached by Tab")


def test_by_keyboard_from_photo_to_download(page: Page, jpeg: bytes) -> None:
    page.on("filechooser", lambda _: None)  # the browser is slow to hear that somebody waits
    tab_to(page, "choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": jpeg})
    wait_until_restored(page)
    assert page.evaluate("document.activeElement.id") == "choose-another"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "split"
    page.keyboard.press("ArrowLeft")
    assert page.input_value("#split") == "49"
    ring = "getComputedStyle(document.querySelector('.handle'), '::after').outlineStyle"
    assert page.evaluate(ring) == "solid"
    tab_to(page, "show-marks")
    page.keyboard.press("Space")
    assert page.is_visible("#marks")
    tab_to(page, "download")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "photo-restored.jpg"


def test_what_happens_is_announced(page: Page, jpeg: bytes) -> None:
    assert page.get_by_role("status").count() == 1
    give(page, jpeg)
    wait_until_restored(page)
    assert page.get_by_role("status").inner_text().startswith("Done")
    give(page, b"no picture at all", "notes.txt")
    page.wait_for_selector("#problem:visible")
    assert "not a picture" in page.get_by_role("alert").first.inner_text()


def test_in_chinese(opening: Opening, jpeg: bytes) -> None:
    with opening(locale="zh-CN") as page:
        assert page.get_attribute("html", "lang") == "zh-CN"
        assert page.inner_text("h1") == "让人像重新清晰"
        give(page, jpeg)
        wait_until_restored(page)
        assert page.inner_text("#status").startswith("完成")
        assert page.inner_text("#download") == "下载"
        assert violations(page) == []
        page.click("text=English")
        page.wait_for_selector("h1:text-is('Make portraits clear again')")


def test_motion_only_for_those_who_like_it(opening: Opening) -> None:
    moves = "getComputedStyle(before).transitionDuration"
    for preference, duration in (("no-preference", "0.35s"), ("reduce", "0s")):
        with opening(reduced_motion=preference) as page:
            assert page.evaluate(moves) == duration
