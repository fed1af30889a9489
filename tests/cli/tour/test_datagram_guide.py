"""The echo of the guide over UDP, and what happens when it is none."""

from __future__ import annotations

from typing import Any

import pytest

from moorings.cli.console import Console
from moorings.cli.tour import datagram_guide
from moorings.cli.tour.common import DemoError, Options

OPTIONS = Options(clients=1, megabytes=1)


async def test_echo(capsys: pytest.CaptureFixture[str]) -> None:
    assert await datagram_guide.datagram_guide(Console(), OPTIONS) == {"echo": "Hello, World!"}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["server", "server", "client", "client"] + ["server"] * 2 + [
        "client",
        "client",
        "server",
    ]


async def test_another_echo_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    text_of = datagram_guide.text_of
    heard: list[str] = []

    def mishear(args: Any) -> str:
        heard.append(text_of(args))
        return heard[-1] if len(heard) == 1 else "?"

    monkeypatch.setattr(datagram_guide, "text_of", mishear)
    with pytest.raises(DemoError, match=r"the echo differs: '\?'"):
        await datagram_guide.datagram_guide(Console(quiet=True), OPTIONS)
    assert heard == ["Hello, World!", "Hello, World!"]
