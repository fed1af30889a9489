"""The batch counts its datagrams, waits for the receiver, and tells what was lost."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.tour.bars import record_progress

from moorings.cli.console import Console
from moorings.cli.tour import datagram_batch
from moorings.cli.tour.common import DemoError, Options

if TYPE_CHECKING:
    from moorings import DatagramSocket

OPTIONS = Options(clients=1, megabytes=1, packets=1000)


async def test_all_of_them_arrive(capsys: pytest.CaptureFixture[str]) -> None:
    facts = await datagram_batch.datagram_batch(Console(), OPTIONS)
    assert (facts["packets"], facts["received"], facts["lost"]) == (1000, 1000, 0)
    assert facts["calls_per_packet"] == (facts["send_calls"] + facts["receive_calls"]) / 1000
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"  client  1,000 datagrams of 1,200 bytes sent in \d+ ms with [\d,]+ system calls", lines[0])
    assert re.fullmatch(r"  server  1,000 received with [\d,]+ system calls, 0 lost", lines[1])
    assert re.fullmatch(r" +[\d,]+ packets/s, [\d,]+ MB/s, \d\.\d{3} system calls per packet", lines[2])
    assert len(lines) == 3


async def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = record_progress(monkeypatch, datagram_batch)
    monkeypatch.setattr(datagram_batch, "SAMPLE_INTERVAL", 0.0)
    await datagram_batch.datagram_batch(Console(quiet=True), OPTIONS)
    (bar,) = bars
    assert (bar.total, bar.done, bar.options) == (1000, 1000, {"keep": True})
    assert len(bar.notes) == 10
    assert all(re.fullmatch(r"[\d,]+ packets/s, 0 lost", note) for note in bar.notes)


async def test_never_more_than_a_window_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    until = datagram_batch.Receiver.until
    waits: list[int] = []

    async def watched(self: datagram_batch.Receiver, goal: int) -> None:
        waits.append(goal - self.count)
        await until(self, goal)

    monkeypatch.setattr(datagram_batch.Receiver, "until", watched)
    await datagram_batch.datagram_batch(Console(quiet=True), OPTIONS)
    assert len(waits) == 10
    assert max(waits) <= datagram_batch.WINDOW


class Deaf(datagram_batch.Receiver):
    """Misses the third datagram."""

    missed = False

    def take(self, _socket: DatagramSocket, message: object) -> None:
        if self.count == 2 and not self.missed:
            self.missed = True
            return
        super().take(_socket, message)


async def test_what_is_lost_is_told_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datagram_batch, "Receiver", Deaf)
    monkeypatch.setattr(datagram_batch, "LOSS_PATIENCE", 0.0)
    facts = await datagram_batch.datagram_batch(Console(), OPTIONS)
    assert (facts["packets"], facts["lost"]) == (1000, 1)
    assert "999 received with" in capsys.readouterr().out


async def test_another_size_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    take = datagram_batch.Receiver.take

    def shorten(self: datagram_batch.Receiver, ours: DatagramSocket, message: Any) -> None:
        take(self, ours, message if self.count else SimpleNamespace(size=1))

    monkeypatch.setattr(datagram_batch.Receiver, "take", shorten)
    with pytest.raises(DemoError, match="1 datagrams have another size"):
        await datagram_batch.datagram_batch(Console(quiet=True), OPTIONS)
