"""The table of `moorings listen --echo --stats`: it keeps clear of the right edge."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

import moorings
from moorings.cli import echo_server, output
from moorings.cli.statistics_line import Reporter

if TYPE_CHECKING:
    from typing import TextIO


async def drawn(monkeypatch: pytest.MonkeyPatch, width: int, stream: TextIO) -> list[str]:
    """The lines of the table with one connection on a terminal of that width."""
    console = Console(file=stream, width=width, height=24, force_terminal=True, color_system=None, soft_wrap=True)
    monkeypatch.setattr(output, "console", lambda: console)
    server = echo_server.EchoServer(Reporter(stream, as_json=False), None)
    async with (
        moorings.listen("tcp://127.0.0.1:0", server.serve) as listening,
        await moorings.connect(f"tcp://127.0.0.1:{listening.port}") as client,
    ):
        await client.write(b"12345")
        await client.read_exactly(5)
        with console.capture() as captured:
            console.print(server._table())
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [60, 80])
async def test_a_control_c_of_the_terminal_begins_no_new_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = await drawn(monkeypatch, width, io.StringIO())
    assert max(map(len, lines)) <= width - len("^C")
    assert ("bandwidth" in lines[1]) == (width == 80)
    assert len(lines) == 3, "the peer does not fold"
