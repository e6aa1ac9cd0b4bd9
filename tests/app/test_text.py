"""Names from elsewhere do nothing to a terminal, a log or a header."""

import pytest

from app.text import ascii_printable, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo 1.jpg", "photo 1.jpg"),
        ("模型 é.pth", "模型 é.pth"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nERROR forged\r", r"a\nERROR forged\r"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("c1 \x9b and \u2028", r"c1 \x9b and \u2028"),
        ("no text: \udcff", r"no text: \udcff"),
    ],
)
def test_what_is_not_visible_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()  # whatever it was, it can be written


def test_headers_carry_ascii_alone() -> None:
    assert ascii_printable("模型 1\r\nX: y") == r"\u6a21\u578b 1\r\nX: y"
