"""The transfer counts its bytes, and tells the statistics while it runs and afterwards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.cli.tour.bars import record_progress

from moorings.cli.console import Console
from moorings.cli.tour import transfer
from moorings.cli.tour.common import DemoError, Options

if TYPE_CHECKING:
    from moorings import StreamSocket

OPTIONS = Options(clients=1, megabytes=2)


async def test_progress_and_live_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = record_progress(monkeypatch, transfer)
    monkeypatch.setattr(transfer, "SAMPLE_INTERVAL", 0.0)
    facts = await transfer.transfer(Console(quiet=True), OPTIONS)
    assert facts["bytes"] == 2 << 20
    (bar,) = bars
    assert (bar.total, bar.done, bar.options) == (2 << 20, 2 << 20, {"unit": "bytes", "keep": True})
    assert len(bar.notes) == 8 + 1
    for note in bar.notes:
        assert re.fullmatch(r"round trip time \d+ µs, bandwidth ([\d,]+ Mbit/s|unknown) out", note)


async def test_statistics_of_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    await transfer.transfer(Console(), OPTIONS)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"  client  2 MiB sent in \d+ ms, \d+\.\d\d GB/s", lines[0])
    for who, start in (("client", 1), ("server", 5)):
        assert re.fullmatch(rf"  {who}  RTT \d+ µs smoothed, .* µs variance", lines[start])
        assert re.fullmatch(rf"  {who}  bandwidth: .+ out, .+ in", lines[start + 1])
    assert lines[3].startswith("  client  2,097,152 bytes sent in ")
    assert " 2,097,152 received in " in lines[7]
    assert lines[4] == "  client  end reason CLOSED_BY_US"
    assert lines[8] == "  server  end reason CLOSED_BY_PEER"
    assert len(lines) == 9


async def test_missing_bytes_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    count_bytes = transfer.count_bytes

    async def miscount(connection: StreamSocket) -> int:
        return await count_bytes(connection) - 1

    monkeypatch.setattr(transfer, "count_bytes", miscount)
    with pytest.raises(DemoError, match="2097151 of 2097152 bytes arrived"):
        await transfer.transfer(Console(quiet=True), OPTIONS)


def test_a_direction_that_carried_nothing() -> None:
    assert transfer.megabits(0) == "unknown"
    assert transfer.megabits(1_234_567_890) == "1,235 Mbit/s"
