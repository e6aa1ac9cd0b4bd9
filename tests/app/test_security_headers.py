"""No answer can be framed, sniffed or run by a browser; the pages run what they need."""

import re

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


def test_the_documentation_may_load_what_it_names() -> None:
    answer = TestClient(create_app(Settings())).get("/docs")
    policy = answer.headers["content-security-policy"]
    sources = set(re.findall(r'(?:src|href)="(https://[^/]+)', answer.text))
    assert sources
    assert [source for source in sources if source not in policy] == []
