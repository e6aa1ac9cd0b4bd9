"""What holds for every document: links lead somewhere, and code is where the tests look for it."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY
from tests.documents.markdown import blocks, headings, links, without_code
from tests.documents.pages import DOCUMENTS, PAGES, README, TRANSLATION, read

MOST_LINES = 200
LANGUAGES = {"sh", "python", "js", "json", "yaml", "bibtex", "mermaid", "text"}
"""Of blocks of code; the commands of those in ``sh`` are run."""


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings, of which no two are the same."""
    found = [
        re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for _, words in headings(text)
    ]
    return set(found)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in links(read(document)):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        path = ((REPOSITORY / document).parent / name).resolve() if name else REPOSITORY / document
        assert path.exists(), target
        assert path.is_relative_to(REPOSITORY.resolve()), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_mentioned_exist(document: str) -> None:
    mentioned = re.findall(r"`((?:app|docker|docs|model|tests)/[\w./-]*)`", read(document))
    assert [path for path in mentioned if not (REPOSITORY / path).exists()] == []


@pytest.mark.parametrize("document", [README, TRANSLATION])
def test_fits_on_200_lines(document: str) -> None:
    assert len(read(document).splitlines()) <= MOST_LINES


def test_the_readme_leads_to_every_page() -> None:
    assert set(PAGES) - {README} <= set(links(read(README)))


@pytest.mark.parametrize("page", PAGES)
def test_code_is_fenced_and_names_its_language(page: str) -> None:
    """Commands elsewhere would not be run."""
    assert {block.language for block in blocks(read(page))} <= LANGUAGES
    assert not re.search(r"^(?:    |\t)\S", _without_lists(without_code(read(page))), re.MULTILINE)


def _without_lists(text: str) -> str:
    """Lines that go on with an item of a list are indented, too."""
    return re.sub(r"^(?:[-*]|\d+\.) .*(?:\n(?:[ \t]+\S.*|$))*", "", text, flags=re.MULTILINE)
