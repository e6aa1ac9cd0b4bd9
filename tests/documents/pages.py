"""The documents of the project, and how to read them."""

from __future__ import annotations

from functools import cache

from tests.conftest import REPOSITORY
from tests.documents.markdown import Block, blocks

README, TRANSLATION = "README.md", "README.zh-CN.md"

PAGES = [README, *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))]
"""Those whose commands are run."""

DOCUMENTS = [
    *sorted(path.name for path in REPOSITORY.glob("*.md")),
    *PAGES[1:],
    *sorted(f"weights/{path.name}" for path in (REPOSITORY / "weights").glob("*.md")),
]
"""All of them."""


@cache
def read(document: str) -> str:
    return (REPOSITORY / document).read_text(encoding="utf-8")


def sections(*languages: str) -> list[tuple[str, str]]:
    """Pages and their sections that have code in one of the languages."""
    found = [(page, block.section) for page in PAGES for block in _code(page, *languages)]
    return list(dict.fromkeys(found))


def code(page: str, section: str, language: str) -> list[Block]:
    return [block for block in _code(page, language) if block.section == section]


def _code(page: str, *languages: str) -> list[Block]:
    return [block for block in blocks(read(page)) if block.language in languages]
