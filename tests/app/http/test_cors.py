"""Which pages may call the service from a browser."""

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.client import assert_problem

PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
KEY = "0123456789abcdef"


def client(origins: str) -> TestClient:
    return TestClient(create_app(Settings(cors_origins=origins, api_keys=KEY)))


def test_none_by_default() -> None:
    answer = client("").get("/health/live", headers={"Origin": "https://a.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_listed_origins_may_call_with_a_key() -> None:
    service = client("https://a.example, http://localhost:3000")
    preflight = service.options("/enhance", headers={"Origin": "https://a.example"} | PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://a.example"
    assert "x-api-key" in preflight.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in preflight.headers

    refused = service.post("/enhance", headers={"Origin": "http://localhost:3000"})
    assert refused.status_code == 401  # and the page may read why
    assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "X-Request-ID" in refused.headers["access-control-expose-headers"]


def test_others_may_not() -> None:
    service = client("https://a.example")
    preflight = service.options("/enhance", headers={"Origin": "https://b.example"} | PREFLIGHT)
    assert_problem(preflight, 400)
    assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize(
    "wanted",
    [
        {"Access-Control-Request-Headers": "x-unknown,x-api-key"},
        {"Access-Control-Request-Method": "DELETE"},
    ],
)
@pytest.mark.parametrize("origins", ["https://a.example", "*"])
def test_what_is_not_allowed_is_for_the_browser_to_refuse(
    origins: str, wanted: dict[str, str]
) -> None:
    """As the Fetch standard has it: the answer lists what is allowed, whatever was asked for."""
    headers = {"Origin": "https://a.example"} | PREFLIGHT | wanted
    preflight = client(origins).options("/enhance", headers=headers)
    assert preflight.is_success
    assert preflight.headers["access-control-allow-origin"] == origins
    assert preflight.headers["access-control-allow-methods"] == "GET, POST"
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert "x-api-key" in allowed
    assert "x-unknown" not in allowed


def test_a_wildcard_has_no_credentials() -> None:
    answer = client("*").get("/health/live", headers={"Origin": "https://b.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("nonsense", ["a.example", "https://a.example/", "https://a b"])
def test_what_is_no_origin_is_refused(nonsense: str) -> None:
    with pytest.raises(ValidationError, match="is neither an origin"):
        Settings(cors_origins=nonsense)
