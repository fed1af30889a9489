"""Colour on a terminal only, and no complaint when the reader has gone."""

from __future__ import annotations

import os
import pty
import sys

import pytest

from moorings.cli.console import Console


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, who: str, text: str) -> str:
    """What a console writes to a terminal."""
    master, slave = pty.openpty()
    try:
        with open(slave, "w", encoding="utf-8") as output, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", output)
            Console().say(who, text)
            return os.read(master, 4096).decode()
    finally:
        os.close(master)


def test_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.title("Title")
    console.say("server", "listening")
    console.line("end")
    assert capsys.readouterr().out == "\nTitle\n  server  listening\nend\n"


def test_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert on_a_terminal(monkeypatch, "server", "listening") == "  \x1b[32mserver \x1b[0m listening\r\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_plain_where_colours_are_unwanted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert on_a_terminal(monkeypatch, "server", "listening") == "  server  listening\r\n"
