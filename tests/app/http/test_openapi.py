"""What the description says is so."""

from base64 import b64decode
from dataclasses import fields
from typing import Any

import pytest

from app import errors
from app.errors import OriginNotAllowed, ServiceError, Unavailable
from app.faces.pipeline import Timings
from app.http.answers import EnhancedModel, FaceModel, HealthModel, TimingsModel
from app.http.problems import Problem
from app.http.routes import EXPOSED_HEADERS
from app.main import create_app
from app.settings import Settings


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return create_app(Settings()).openapi()


@pytest.fixture(scope="module")
def responses(description: dict[str, Any]) -> dict[str, Any]:
    documented: dict[str, Any] = description["paths"]["/enhance"]["post"]["responses"]
    return documented


def examples(response: dict[str, Any]) -> list[dict[str, Any]]:
    content = response["content"]["application/problem+json"]
    return [example["value"] for example in content["examples"].values()]


def test_operations_have_short_ids_tags_and_summaries(description: dict[str, Any]) -> None:
    operations = [method for path in description["paths"].values() for method in path.values()]
    ids = ["enhance", "health", "ready", "live", "metrics"]
    assert [operation["operationId"] for operation in operations] == ids
    tags = {tag["name"] for tag in description["tags"]}
    assert {operation["tags"][0] for operation in operations} == tags
    assert all(operation["summary"] for operation in operations)


def test_every_option_and_every_field_is_explained(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    for name in ("EnhanceForm", "EnhancedModel", "FaceModel"):
        for field, schema in schemas[name]["properties"].items():
            assert schema.get("description") or "$ref" in str(schema) or field == "restored", field
    assert schemas["EnhanceForm"]["properties"]["file"]["format"] == "binary"


def test_every_error_of_the_service_is_an_example(responses: dict[str, Any]) -> None:
    kinds = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ServiceError)
    } - {Unavailable, OriginNotAllowed}  # only its kinds are raised; of preflights
    shown = {
        (int(status), example["type"], example["title"])
        for status, response in responses.items()
        if status != "200"
        for example in examples(response)
    }
    assert shown == {(kind.status, f"urn:gpen:problem:{kind.slug}", kind.title) for kind in kinds}


def test_errors_share_one_schema_that_their_examples_keep(
    description: dict[str, Any], responses: dict[str, Any]
) -> None:
    assert description["components"]["schemas"]["Problem"] == Problem.model_json_schema()
    for status, response in responses.items():
        if status == "200":
            continue
        schema = response["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}
        assert examples(response)
        for example in examples(response):
            assert Problem.model_validate(example).status == int(status)


def test_examples_of_answers_are_whole(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    (enhanced,) = schemas["EnhancedModel"]["examples"]
    assert (
        EnhancedModel.model_validate(enhanced, extra="forbid").model_dump(mode="json") == enhanced
    )
    assert enhanced["faces"][0].keys() == FaceModel.model_fields.keys()
    assert b64decode(enhanced["image"], validate=True).startswith(b"\xff\xd8")
    for health in schemas["HealthModel"]["examples"]:
        shown = HealthModel.model_validate(health, extra="forbid")
        assert shown.model_dump(mode="json", exclude_none=True) == health


def test_timings_are_those_of_the_pipeline() -> None:
    assert list(TimingsModel.model_fields) == [stage.name for stage in fields(Timings)]


def test_headers_are_documented_where_they_come(responses: dict[str, Any]) -> None:
    assert all("X-Request-ID" in response["headers"] for response in responses.values())
    documented = set().union(*(response["headers"] for response in responses.values()))
    assert documented == {*EXPOSED_HEADERS, "WWW-Authenticate"}
    assert "Retry-After" in responses["503"]["headers"]
    assert "WWW-Authenticate" in responses["401"]["headers"]


@pytest.mark.parametrize(("keys", "optional"), [({}, True), ({"api_keys": "k" * 16}, False)])
def test_keys_are_required_where_there_are_any(keys: dict[str, Any], optional: bool) -> None:
    description = create_app(Settings(**keys)).openapi()
    schemes = description["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"apiKey", "http"}
    assert ({} in description["security"]) is optional
    assert [need for need in description["security"] if need] == [{name: []} for name in schemes]
    for path, methods in description["paths"].items():
        assert (methods.popitem()[1].get("security") == []) is path.startswith("/health")
