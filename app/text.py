"""Text that comes from elsewhere, made safe to show: names of files, fields and models."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""``text`` on one line, with everything that is no visible character escaped.

    Control characters, line breaks, marks that change the direction of writing, and bytes that are
    no text become escapes as Python has them (``\x1b``, ``\u202e``).  A name can then neither
    control a terminal nor pretend to be a line of its own.  Letters of any language stay.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def ascii_printable(text: str) -> str:
    r"""Like :func:`printable`, with letters beyond ASCII escaped, too: for headers of HTTP."""
    return "".join(c if c.isascii() and c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
