"""Text from elsewhere becomes harmless, and stays what it is where it is."""

from __future__ import annotations

import pytest

from moorings.foundation.printing import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größer, 日本 'x' \\n", "größer, 日本 'x' \\n"),
        ("\x1b[2J\r\n\0", "\\x1b[2J\\r\\n\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb\u2028c", "a\\u202eb\\u2028c"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
