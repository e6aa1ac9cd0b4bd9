"""The demo page as it is served; what it does in a browser is tested in tests/browser."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from starlette.testclient import TestClient

from app.errors import ServiceError
from app.faces.reports import Reason
from app.http import page
from app.http.page.routes import language_of, read_words
from app.http.paths import PAGE_FILES, is_page
from app.main import create_app
from app.options import EnhanceOptions
from app.settings import Settings
from tests.client import assert_problem

FOLDER = Path(page.__file__).parent
STATIC = sorted((FOLDER / "static").iterdir())
PATHS = ["/", *(PAGE_FILES + file.name for file in STATIC)]
WORDS = read_words()


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(create_app(Settings(max_upload_mb=12.5)))


@pytest.mark.parametrize("path", PATHS)
def test_what_is_served_is_described(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] in {
        "image/jpeg",
        "image/svg+xml",
        "text/css",
        "text/html",
        "text/javascript",
    }
    assert len(answer.content) < 60_000
    head = client.head(path)
    assert head.status_code == 200
    assert head.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("path", PATHS)
def test_what_a_browser_has_is_not_sent_again(client: TestClient, path: str) -> None:
    first = client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    for known in (first.headers["etag"], f'"other", W/{first.headers["etag"]}'):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_nothing_runs_or_loads_but_the_services_own(client: TestClient, path: str) -> None:
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.headers["content-type"] != "image/jpeg":
        addresses = set(re.findall(r"https?://[\w./]+", answer.text))
        assert addresses <= {"http://www.w3.org/2000/svg"}


def test_what_is_no_part_of_the_page_is_a_problem(client: TestClient) -> None:
    for path in ("/page", "/page/", "/page/nothing.js", "/page/../index.html", "/page/words.json"):
        assert_problem(client.get(path), 404)
    assert_problem(client.post("/"), 405)
    assert not [path for path in client.get("/openapi.json").json()["paths"] if is_page(path)]


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,zh;q=0.9", "en"),
        ("fr, ZH-Hant;q=0.4", "zh"),
        ("en;q=0.3, zh;q=0.7", "zh"),
        ("zh;q=0", "en"),
        ("fr", "en"),
        ("*", "en"),
        (";;q=x,,zh", "zh"),
    ],
)
def test_the_browsers_language(client: TestClient, accepted: str, expected: str) -> None:
    assert language_of(accepted, list(WORDS)) == expected
    answer = client.get("/", headers={"Accept-Language": accepted})
    assert f'<html lang="{WORDS[expected]["lang"]}">' in answer.text
    assert WORDS[expected]["headline"] in answer.text
    assert answer.headers["vary"] == "Accept-Language"


def test_the_language_can_be_chosen(client: TestClient) -> None:
    chinese = {"Accept-Language": "zh"}
    assert '<html lang="en">' in client.get("/?lang=en", headers=chinese).text
    assert '<html lang="zh-CN">' in client.get("/?lang=nonsense", headers=chinese).text


def test_both_languages_say_the_same_things() -> None:
    english, chinese = WORDS["en"], WORDS["zh"]
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert text.strip(), key
        assert placeholders(chinese[key]) == placeholders(text), key


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_every_word_is_there_and_every_one_is_needed() -> None:
    template = (FOLDER / "index.html").read_text()
    scripts = "".join(file.read_text() for file in STATIC if file.suffix == ".js")
    prefixes = tuple(re.findall(r"words\(`(\w+_)", scripts))
    wanted = {
        *re.findall(r"\{\{(\w+)\}\}", template),
        *re.findall(r'words\("(\w+)"', scripts),
        *(key for key in WORDS["en"] if key.startswith(prefixes)),
    }
    assert wanted == WORDS["en"].keys()


def test_every_option_has_a_field() -> None:
    template = (FOLDER / "index.html").read_text()
    names = set(re.findall(r' name="(\w+)"', template.split("<form", 1)[1]))
    assert names == EnhanceOptions.model_fields.keys()


def test_every_reason_to_leave_a_face_has_words() -> None:
    reasons = get_args(Reason)
    assert len(reasons) > 1
    assert {f"face_{reason.replace(' ', '_')}" for reason in reasons} <= WORDS["en"].keys()


def test_every_problem_has_words() -> None:
    slugs = {error.slug for error in subclasses(ServiceError)}
    assert len(slugs) > 10
    assert {f"problem_{slug}" for slug in slugs} <= WORDS["en"].keys()


def subclasses(kind: type[ServiceError]) -> set[type[ServiceError]]:
    return {kind}.union(*(subclasses(derived) for derived in kind.__subclasses__()))


def test_the_page_knows_what_the_service_wants() -> None:
    key = "0123456789abcdef"
    client = TestClient(create_app(Settings(api_keys=key, max_upload_mb=12.5)))
    for path in PATHS:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert key.encode() not in answer.content
    page_text = client.get("/").text
    assert "up to 12.5 MB" in page_text
    (block,) = re.findall(r'<script type="application/json" id="config">(.*?)</script>', page_text)
    config = json.loads(block)
    assert config["keyWanted"] is True
    assert config["maxUploadMb"] == 12.5
    assert_problem(client.post("/enhance"), 401)
