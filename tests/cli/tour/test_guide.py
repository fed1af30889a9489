"""The echo of the guide, and what happens when it is none."""

from __future__ import annotations

import pytest

from moorings.cli.console import Console
from moorings.cli.tour import guide
from moorings.cli.tour.common import DemoError, Options

OPTIONS = Options(clients=1, megabytes=1)


async def test_echo() -> None:
    assert await guide.guide(Console(quiet=True), OPTIONS) == {"echo": "Hello, World!"}


async def test_another_echo_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    receive_text = guide.receive_text
    heard: list[str] = []

    async def mishear(reader: guide.DataReader) -> str:
        heard.append(await receive_text(reader))
        return heard[-1] if len(heard) == 1 else "?"

    monkeypatch.setattr(guide, "receive_text", mishear)
    with pytest.raises(DemoError, match=r"the echo differs: '\?'"):
        await guide.guide(Console(quiet=True), OPTIONS)
    assert heard == ["Hello, World!", "Hello, World!"]
