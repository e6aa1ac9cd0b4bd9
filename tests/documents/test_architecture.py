"""docs/architecture.md leads to files that are there."""

import re

from tests.conftest import REPOSITORY
from tests.test_floors import FLOORS

TEXT = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_each_path_exists() -> None:
    paths = re.findall(r"`((?:app|docs|model|tests)/[\w./]*)`", TEXT)
    assert len(paths) > 40
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_each_floor_is_described() -> None:
    folders = {f"{place}/" for floor in FLOORS for place in floor if "." not in place}
    assert [folder for folder in folders if f"`{folder}`" not in TEXT] == []
