"""Escaping text from outside, such as names of files, fields and models, before it is shown."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return ``text`` on one line, with all invisible characters escaped.

    Control characters, line breaks, marks that change the writing direction, and undecodable bytes
    become Python's escapes (``\x1b``, ``\u202e``), so that a name can neither control a terminal
    nor imitate a separate line.  Letters of all languages are unchanged.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def ascii_printable(text: str) -> str:
    r"""Like :func:`printable`, but also escapes all non-ASCII characters, for HTTP headers."""
    return "".join(c if c.isascii() and c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
