"""How messages are made of what is read, and how a terminal shows them."""

from __future__ import annotations

import click
import pytest

from moorings.cli import web_socket_pipes
from moorings.cli.exit_codes import CommandError
from moorings.cli.web_socket_pipes import Pieces, TextLines, message_manner_of, shown


def cut(cutter: TextLines | Pieces, *blocks: bytes) -> list[str | bytes]:
    pieces: list[str | bytes] = []
    for block in blocks:
        pieces += cutter.cut(memoryview(block))
    pieces += cutter.rest()
    return pieces


def test_lines_are_text_wherever_the_blocks_end() -> None:
    data = "größer\r\n\nÄ\nend".encode()
    for place in range(len(data) + 1):
        assert cut(TextLines(), data[:place], data[place:]) == ["größer", "", "Ä", "end"]
    assert cut(TextLines(), b"line\n") == ["line"]
    assert cut(TextLines()) == []


def test_a_line_that_is_no_text_is_told_with_its_number() -> None:
    lines = TextLines()
    pieces = lines.cut(memoryview(b"one\n\xff\n"))
    assert next(pieces) == "one"
    with pytest.raises(CommandError, match="line 2 of standard input is not UTF-8; --binary sends bytes"):
        next(pieces)


def test_a_line_without_an_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_socket_pipes, "LONGEST_LINE", 10)
    assert cut(TextLines(), b"0123456789") == ["0123456789"]
    with pytest.raises(CommandError, match="line 2 of standard input has more than 10 bytes"):
        cut(TextLines(), b"\n01234", b"567890")


def test_pieces_have_their_size_or_are_as_they_come() -> None:
    assert cut(Pieces(None), b"abc", b"\n", b"") == [b"abc", b"\n"]
    assert cut(Pieces(2), b"abc", b"d", b"e") == [b"ab", b"cd", b"e"]


def test_a_terminal_shows_types_and_obeys_nothing() -> None:
    assert shown("two\nlines\x1b[2J") == "< two\n  lines\\x1b[2J\n"
    assert shown("") == "< \n"
    assert shown(b"\x00\xffA") == "< binary, 3 B: 00 ff 41\n"
    assert shown(b"") == "< binary, 0 B:\n"
    assert shown(bytes(33)) == f"< binary, 33 B: {'00 ' * 32}...\n"


def test_what_the_options_say() -> None:
    assert message_manner_of({"binary": False, "quit_after": None}, None, serves=False).wait == 1
    assert message_manner_of({"binary": False, "quit_after": None}, None, serves=True).wait is None
    assert message_manner_of({"binary": True, "quit_after": 0.0}, 5, serves=True).wait == 0
    with pytest.raises(click.UsageError, match="--size goes with --binary"):
        message_manner_of({"binary": False, "quit_after": None}, 5, serves=False)
