"""The tables of the documents name what the code has: options, settings, problems, metrics."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from pydantic import BaseModel

from app.errors import ServiceError, Unavailable
from app.faces.reports import Reason
from app.http.routes import EnhanceForm
from app.settings import Settings
from tests.deployment.metrics import metric_names
from tests.documents.markdown import rows
from tests.documents.pages import README, TRANSLATION, read

SETTINGS, OPERATIONS, PERFORMANCE, FORMATS = (
    f"docs/{name}.md" for name in ("settings", "operations", "performance", "formats")
)


def table(document: str, *header: str) -> list[list[str]]:
    """Cells of all rows of a document's tables whose first columns have these headings."""
    found = [
        row for columns, row in rows(read(document)) if tuple(columns[: len(header)]) == header
    ]
    assert found, f"{document} has no table of {header}"
    return found


def in_code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def stated_default(model: type[BaseModel], name: str) -> str | None:
    """The default as a table has it; None where the table may use words of its own."""
    default = model.model_fields[name].default
    if isinstance(default, bool):
        return str(default).lower() if model is EnhanceForm else "on"
    if isinstance(default, int | float):
        return f"{default:.12g}"
    return f"`{default}`" if isinstance(default, str) and default else None


def check_defaults(model: type[BaseModel], defaults: dict[str, str]) -> None:
    for name, stated in defaults.items():
        assert stated_default(model, name) in (None, stated), name


@pytest.mark.parametrize(
    ("document", "header"), [(README, ("field", "type")), (TRANSLATION, ("字段", "类型"))]
)
def test_every_option(document: str, header: tuple[str, ...]) -> None:
    options = {in_code(row[0])[0]: row[2] for row in table(document, *header)}
    assert options.keys() == EnhanceForm.model_fields.keys()
    check_defaults(EnhanceForm, options)


def test_every_setting() -> None:
    settings = {in_code(row[0])[0].lower(): row[1] for row in table(SETTINGS, "name", "default")}
    assert settings.keys() == Settings.model_fields.keys()
    check_defaults(Settings, settings)


@pytest.mark.parametrize(
    ("document", "header"), [(README, ("name", "default")), (TRANSLATION, ("名称", "默认"))]
)
def test_the_ten_settings_people_change(document: str, header: tuple[str, ...]) -> None:
    settings = {in_code(row[0])[0].lower(): row[1] for row in table(document, *header)}
    assert len(settings) == 10
    check_defaults(Settings, settings)


def problems(kind: type[ServiceError] = ServiceError) -> dict[str, str]:
    """Names and statuses of a kind of problem and of those below it."""
    found = {} if kind is Unavailable else {kind.slug: str(kind.status)}  # which is only a base
    for child in kind.__subclasses__():
        found |= problems(child)
    return found


def test_every_problem() -> None:
    stated = {in_code(row[0])[0]: row[1] for row in table(OPERATIONS, "name", "status")}
    assert stated == problems()
    for document in (README, TRANSLATION):
        assert set(stated.values()) <= set(re.findall(r"\b[45]\d\d\b", read(document)))


def test_every_metric() -> None:
    stated = [
        name.partition("{")[0]
        for row in table(OPERATIONS, "metric", "meaning")
        for name in in_code(row[0])
    ]
    reported = {re.sub(r"_(bucket|sum|count)$", "", name) for name in metric_names()}
    assert sorted(stated) == sorted(name for name in reported if name.startswith("gpen_"))


def test_every_reason() -> None:
    stated = [in_code(row[0])[0] for row in table(FORMATS, "reason")]
    assert sorted(stated) == sorted(get_args(Reason))


def test_figures_of_speed_are_those_of_the_page() -> None:
    speed = re.search(r"^## Speed$.*?(?=^## )", read(README), re.MULTILINE | re.DOTALL)
    assert speed is not None
    measured = set(re.findall(r"\d+(?:\.\d+)?", read(PERFORMANCE)))
    assert set(re.findall(r"\d+(?:\.\d+)?", speed[0])) <= measured
