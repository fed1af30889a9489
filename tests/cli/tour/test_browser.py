"""The part of the demonstration with a browser: with one, with a program that plays one, and without."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from moorings.cli.checks.machine import find_program
from moorings.cli.checks.tools import BROWSERS
from moorings.cli.console import Console
from moorings.cli.tour import browser
from moorings.cli.tour.common import DemoError, Options

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = Options(clients=1, megabytes=1)
PLAYED = f"""#!{sys.executable}
import sys, urllib.request
from websockets.sync.client import connect

page = sys.argv[-1]
with urllib.request.urlopen(page) as answer:
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"new WebSocket" in answer.read()
with connect(page.replace("http:", "ws:") + "/chat", origin=page) as socket:
    socket.send("I am played\\x1b")
    socket.send("I have read: " + socket.recv())
    socket.close(1000, "goodbye")
sys.stdin = open("/dev/zero", "rb")
while True:
    sys.stdin.read(1 << 20)
"""


def played(text: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let that program be the browser."""
    program = directory / "browser"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setattr(browser, "find_program", lambda _name: str(program))
    return str(program)


async def test_without_a_browser_one_line_names_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(browser, "find_program", lambda _name: None)
    assert await browser.browser(Console(), OPTIONS) == {"browser": None}
    assert capsys.readouterr().out == "  note    no browser is installed (apt install chromium-headless-shell)\n"


async def test_what_a_browser_says_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = played(PLAYED, tmp_path, monkeypatch)
    facts = await browser.browser(Console(), OPTIONS)
    assert facts == {"browser": program, "words": ["I am played\\x1b", "I have read: Hello, browser!"]}
    told = capsys.readouterr().out
    position = 0
    for step in (
        "server  has a page at http://127.0.0.1:",
        f"browser {program} begins",
        "server  the page was fetched",
        "server  a page of http://127.0.0.1:",
        "browser I am played\\x1b",
        "server  sent 'Hello, browser!'",
        "browser I have read: Hello, browser!",
        "server  the page has closed with 1000: goodbye",
    ):
        position = told.find(step, position)
        assert position >= 0, f"{step!r} is missing, or too early, in\n{told}"


async def test_a_browser_that_does_not_talk_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played(f"#!{sys.executable}\nwhile True: pass\n", tmp_path, monkeypatch)
    monkeypatch.setattr(browser, "BROWSER_PATIENCE", 0.0)
    with pytest.raises(DemoError, match="has not talked to the server within 0 s"):
        await browser.browser(Console(quiet=True), OPTIONS)


@pytest.mark.skipif(not any(map(find_program, BROWSERS)), reason="no browser is installed")
async def test_a_browser(capsys: pytest.CaptureFixture[str]) -> None:
    facts = await browser.browser(Console(), OPTIONS)
    assert "Mozilla" in facts["words"][0]
    assert facts["words"][1] == "I have read: Hello, browser!"
    assert "the page has closed with 1000: goodbye from the page" in capsys.readouterr().out
