"""Whatever goes wrong is told in plain words, and leads on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, Route

from app.errors import MemoryFull, Overloaded, RestorationFailed, ServiceError
from app.http.problems import MEDIA_TYPE, Problem
from tests.browser.conftest import Opening, encoded, give, wait_until_restored
from tests.conftest import Server, serving
from tests.pictures import png_of

pytestmark = pytest.mark.browser

KEY = "0123456789abcdef"
ENHANCE = "**/enhance"


def told(page: Page) -> str:
    page.wait_for_selector("#problem:visible")
    assert not page.is_visible("#result")
    assert page.get_attribute("#comparison", "data-working") == ""
    return page.inner_text("#problem")


def refuse(route: Route, error: ServiceError) -> None:
    """Answer as the service does."""
    problem = Problem(
        type=f"urn:gpen:problem:{error.slug}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        request_id="a-request",
    )
    headers = {**error.headers, "Content-Type": MEDIA_TYPE}
    route.fulfill(status=error.status, headers=headers, body=problem.model_dump_json())


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"no picture at all", "notes.txt", "not a picture that the service reads"),
        (png_of(9000, 9000), "bomb.png", "The photo is too large."),
        (png_of(300, 300), "cut.png", "broken or cut off"),
    ],
)
def test_files_that_are_no_good(page: Page, data: bytes, name: str, words: str) -> None:
    give(page, data, name)
    text = told(page)
    assert words in text
    assert "Request " in text
    assert page.locator("#problem button").count() == 0  # the same would come of it again


def test_a_problem_is_followed_by_a_result(page: Page, jpeg: bytes) -> None:
    give(page, b"no picture at all", "notes.txt")
    told(page)
    assert page.is_visible("#no-preview")
    give(page, jpeg)
    wait_until_restored(page)
    assert not page.is_visible("#problem")
    assert not page.is_visible("#no-preview")
    give(page, b"no picture at all", "notes.txt")
    told(page)  # and nothing is left of the result


def test_no_face_and_not_square(page: Page) -> None:
    page.click("details summary")
    page.check("[name=require_face]")
    grey = np.full((200, 300, 3), 120, np.uint8)
    give(page, encoded(grey, "PNG"), "grey.png")
    assert "No face was found in the photo." in told(page)
    page.check("[name=aligned]")
    page.click("#restore")
    page.wait_for_selector("#problem:has-text('square')")
    page.uncheck("[name=aligned]")
    page.uncheck("[name=require_face]")
    page.click("#restore")
    wait_until_restored(page)
    assert "no face was found" in page.inner_text("#status")


def test_an_overloaded_service_says_when_to_come_back(page: Page, jpeg: bytes) -> None:
    errors = [Overloaded("Too many.", 7), MemoryFull("Too many pixels.", 2)]

    def refuse_twice(route: Route) -> None:
        if errors:
            refuse(route, errors.pop(0))
        else:
            route.continue_()

    page.route(ENHANCE, refuse_twice)
    give(page, jpeg)
    text = told(page)
    assert "too much to do" in text
    assert "wait 7 s" in text
    assert "HTTP 503 · Request a-request" in text
    page.click("#problem button")
    page.wait_for_selector("#problem:has-text('wait 2 s')")
    page.click("#problem button")
    wait_until_restored(page)


def test_a_deadline_that_passes(page: Page, astronaut: NDArray[np.uint8]) -> None:
    """The service's own 504: it is given next to no time."""
    page.route(
        ENHANCE,
        lambda route: route.continue_(
            headers={**route.request.headers, "X-Request-Timeout": "0.001"}
        ),
    )
    give(page, encoded(astronaut, "PNG"), "photo.png")
    text = told(page)
    assert "took too long" in text
    assert "HTTP 504" in text
    assert page.is_visible("#problem button")


def test_a_bug_of_the_service(page: Page, jpeg: bytes) -> None:
    page.route(ENHANCE, lambda route: refuse(route, RestorationFailed("It failed.")))
    give(page, jpeg)
    assert "its fault, not yours" in told(page)


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "", "[]", "{}"])
def test_answers_of_others(page: Page, jpeg: bytes, body: str) -> None:
    """A proxy in between has pages of its own."""
    page.route(ENHANCE, lambda route: route.fulfill(status=502, body=body))
    give(page, jpeg)
    assert "does not understand" in told(page)


def test_a_service_that_is_gone(page: Page, jpeg: bytes) -> None:
    page.route(ENHANCE, lambda route: route.abort())
    give(page, jpeg)
    assert "cannot be reached" in told(page)
    page.unroute(ENHANCE)
    page.click("#problem button")
    wait_until_restored(page)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that wants a key, and takes small photos only."""
    log = tmp_path_factory.mktemp("guarded") / "log"
    settings = {"GPEN_MODEL": "gpen-starter-256", "GPEN_REQUEST_TIMEOUT_S": "120"}
    with serving(log, GPEN_API_KEYS=KEY, GPEN_MAX_UPLOAD_MB="0.1", **settings) as running:
        yield running


def test_a_service_that_wants_a_key(opening: Opening, guarded: Server, jpeg: bytes) -> None:
    with opening(guarded.url) as page:
        assert not page.is_visible("#docs")
        give(page, jpeg)
        assert "wants an API key" in told(page)
        assert page.evaluate("document.activeElement.id") == "key"
        page.fill("#key", "not-the-key")
        page.keyboard.press("Enter")
        page.wait_for_selector("#problem:has-text('HTTP 401')")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        wait_until_restored(page)
        command = page.inner_text("#command")
        assert '-H "X-API-Key: $GPEN_KEY"' in command
        assert KEY not in page.content()


def test_a_file_that_is_too_large_is_not_sent(
    opening: Opening, guarded: Server, astronaut: NDArray[np.uint8]
) -> None:
    with opening(guarded.url) as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url))
        page.fill("#key", KEY)
        give(page, encoded(astronaut, "PNG"), "photo.png")
        text = told(page)
        assert "The photo is too large." in text
        assert "the service takes up to 0.1 MB" in text
        assert [url for url in sent if url.endswith("/enhance")] == []
