"""The demo page in a real browser: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.conftest import Server

Opening = Callable[..., AbstractContextManager[Page]]

PATIENCE_MS = 60_000  # other tests may be using the processor
_REFUSED = "Failed to load resource"  # how Chromium reports an answer with an error's status


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module, not of the session: while it runs, asyncio.run works in no test."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium (Debian: apt-get install chromium, or set CHROMIUM to its path)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",  # in a container there is none to be had
                "--disable-gpu",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def opening(browser: Browser, server: Server) -> Opening:
    """``with opening() as page``: the demo page, in a fresh profile with the given properties.

    It fails the test when the page has a problem of its own: an error in the console, an exception,
    a request to another origin.  ``url`` is that of another server than the usual one.
    """

    @contextmanager
    def open_page(url: str = server.url, **properties: Any) -> Iterator[Page]:
        context = browser.new_context(**{"reduced_motion": "reduce", **properties})
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        wrong: list[str] = []

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not message.text.startswith(_REFUSED):
                wrong.append(message.text)

        def on_request(request: Request) -> None:
            if not request.url.startswith((f"{url}/", f"blob:{url}/")):
                wrong.append(f"request to {request.url}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        context.on("request", on_request)
        try:
            page.goto(url)
            page.wait_for_selector("#health[data-status=ok]")
            yield page
            assert wrong == []
        finally:
            context.close()

    return open_page


@pytest.fixture
def page(opening: Opening) -> Iterator[Page]:
    with opening(viewport={"width": 1280, "height": 900}) as page:
        yield page


@pytest.fixture(scope="session")
def jpeg(astronaut: NDArray[np.uint8]) -> bytes:
    return encoded(astronaut, "JPEG", quality=90)


def encoded(pixels: NDArray[np.uint8], kind: str, **properties: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **properties)
    return buffer.getvalue()


def give(page: Page, data: bytes, name: str = "photo.jpg") -> None:
    """Choose a photo, as its file picker would."""
    page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": data})


def wait_until_restored(page: Page) -> None:
    page.wait_for_selector("#result:visible")
    page.wait_for_selector("#comparison[data-working='']")
