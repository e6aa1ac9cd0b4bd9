"""What is in a Markdown document: headings, blocks of code, commands, links."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s+)#\s.*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    section: str
    """The second-level heading that it is under."""
    language: str
    text: str


def without_code(text: str) -> str:
    return _FENCE.sub("", text)


def headings(text: str) -> list[tuple[int, str]]:
    """Level and words of each."""
    found = re.findall(r"^(#+) (.+)$", without_code(text), re.MULTILINE)
    return [(len(marks), words) for marks, words in found]


def blocks(text: str) -> list[Block]:
    found = []
    for fence in _FENCE.finditer(text):
        above = [words for level, words in headings(text[: fence.start()]) if level == 2]
        found.append(Block(above[-1] if above else "", fence[1], fence[2]))
    return found


def uncommented(code: str) -> str:
    """Code of a shell without its comments, and without what they leave at the ends of lines."""
    return "\n".join(line.rstrip() for line in _COMMENT.sub("", code).splitlines())


def commands(code: str) -> list[str]:
    """Each as one line: comments left out, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", uncommented(code))
    return [line.strip() for line in joined.splitlines() if line.strip()]


def links(text: str) -> list[str]:
    """Targets of links and pictures, in order."""
    return re.findall(r"\]\(([^)\s]+)\)", without_code(text))


def table_rows(text: str) -> int:
    return len(re.findall(r"^\|.*\|$", without_code(text), re.MULTILINE))


def rows(text: str) -> list[tuple[list[str], list[str]]]:
    """Of all tables, each row below the header's, with the header's cells before its own."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n)+", without_code(text), re.MULTILINE):
        header, _, *below = (_cells(line) for line in table.splitlines())
        found += [(header, row) for row in below]
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
