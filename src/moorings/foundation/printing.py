"""Text that came from elsewhere, made fit for a terminal, a log and one line."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """`text` with what a terminal might obey, or what would break a line, as escapes: it may come from elsewhere."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
