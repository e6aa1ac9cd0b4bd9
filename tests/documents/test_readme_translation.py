"""The Chinese README says what the English one does, as far as a machine can tell.

Section by section: the same headings in number and level, code, names in code, figures, rows of
tables and links.  Words, comments in commands and order within a section are free.
"""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY
from tests.documents.markdown import blocks, headings, links, table_rows, uncommented, without_code

ENGLISH, CHINESE = (
    (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")
)


def sections(text: str) -> list[str]:
    """What is before the first heading of the second level, and each that follows."""
    return re.split(r"^(?=## )", text, flags=re.MULTILINE)


PAIRS = list(zip(sections(ENGLISH), sections(CHINESE), strict=False))


def names_in_code(text: str) -> list[str]:
    found = re.findall(r"`([^`]+)`", without_code(text))
    return sorted(" ".join(name.split()) for name in found)


def figures(text: str) -> list[str]:
    return sorted(re.findall(r"\d+(?:\.\d+)*", without_code(text)))


def targets(text: str) -> list[str]:
    """Anchors are made of headings, which are translated; each document names the other."""
    found = [link.partition("#")[0] for link in links(text)]
    return sorted(link for link in found if link not in {"README.md", "README.zh-CN.md", ""})


def test_headings() -> None:
    levels = [[level for level, _ in headings(text)] for text in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    assert len(sections(ENGLISH)) == len(sections(CHINESE)) == levels[0].count(2) + 1


def test_each_names_the_other() -> None:
    assert "README.zh-CN.md" in links(ENGLISH)
    assert "README.md" in links(CHINESE)


@pytest.mark.parametrize(
    ("english", "chinese"), PAIRS, ids=[e.partition("\n")[0] for e, _ in PAIRS]
)
class TestEachSection:
    def test_code(self, english: str, chinese: str) -> None:
        code = [
            [(block.language, uncommented(block.text)) for block in blocks(text)]
            for text in (english, chinese)
        ]
        assert code[0] == code[1]

    def test_names_in_code(self, english: str, chinese: str) -> None:
        assert names_in_code(english) == names_in_code(chinese)

    def test_figures(self, english: str, chinese: str) -> None:
        assert figures(english) == figures(chinese)

    def test_tables_and_links(self, english: str, chinese: str) -> None:
        assert table_rows(english) == table_rows(chinese)
        assert targets(english) == targets(chinese)
