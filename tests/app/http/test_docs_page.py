"""The documentation needs nobody else."""

import re
from urllib.parse import urljoin

from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.client import assert_problem

TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


def test_everything_that_the_page_loads_is_served_from_here() -> None:
    client = TestClient(create_app(Settings()))
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "//" not in page.text  # no other origin
    loaded = [name for name in re.findall(r'(?:src|href)="([^"]+)', page.text) if name != "data:,"]
    assert len(loaded) == 3
    for name in loaded:
        asset = client.get(urljoin("/docs", name))
        assert asset.status_code == 200
        assert asset.headers["content-type"] == TYPES[name[name.rindex(".") :]]
        assert asset.headers["x-content-type-options"] == "nosniff"


def test_it_opens_without_a_key_and_its_calls_ask_for_one() -> None:
    client = TestClient(create_app(Settings(api_keys="0123456789abcdef")))
    for path in ("/docs", "/docs/start.js", "/docs/assets/swagger-ui.css"):
        assert client.get(path).status_code == 200
    description = client.get("/openapi.json").json()
    schemes = description["components"]["securitySchemes"]
    assert description["security"] == [{"ApiKey": []}, {"Bearer": []}]
    assert schemes["ApiKey"]["name"] == "X-API-Key"
    assert "security" not in description["paths"]["/enhance"]["post"]  # so that of all holds
    assert_problem(client.post("/enhance"), 401)


def test_the_script_shows_our_description() -> None:
    client = TestClient(create_app(Settings()))
    (url,) = re.findall(r'url: "([^"]+)"', client.get("/docs/start.js").text)
    assert client.get(urljoin("/docs", url)).json()["info"]["title"] == "GPEN Portrait"
    assert "SwaggerUIBundle" in client.get("/docs/assets/swagger-ui-bundle.js").text


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    page = TestClient(create_app(Settings())).get("/docs").text
    assert re.findall(r"<script[^>]*>([^<]+)", page) == []
    assert not re.search(r"<style|style=|onload", page)


def test_what_is_not_there_is_a_problem() -> None:
    client = TestClient(create_app(Settings()))
    for path in ("/docs/assets/nothing.js", "/docs/assets/%2e%2e/core.py", "/docs/oauth2"):
        assert_problem(client.get(path), 404)


def test_parts_of_files_are_not_offered() -> None:
    client = TestClient(create_app(Settings()))
    for part in ("bytes=x", "bytes=99999999-", "bytes=0-9"):
        asset = client.get("/docs/assets/swagger-ui.css", headers={"Range": part})
        assert asset.status_code == 200
        assert len(asset.content) > 1000
