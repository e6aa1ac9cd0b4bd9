"""No answer can be framed, sniffed or run by a browser; the pages run what they need."""

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/openapi.json", "/metrics"])
def test_every_answer_is_inert(path: str) -> None:
    headers = TestClient(create_app(Settings())).get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "script-src" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"


def test_the_documentation_runs_only_what_comes_from_here() -> None:
    headers = TestClient(create_app(Settings())).get("/docs").headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"
