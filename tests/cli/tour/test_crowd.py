"""As many clients as the descriptors allow, and every echo counted."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest
from tests.cli.tour.bars import record_progress

from moorings.cli.console import Console
from moorings.cli.tour import crowd
from moorings.cli.tour.common import DemoError, Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moorings import StreamSocket


@pytest.fixture
def descriptor_limit() -> Iterator[None]:
    """Puts the limit back that a test changes."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("descriptor_limit")
def test_descriptor_limit_is_raised() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    assert crowd.affordable_clients(100) == (100, "")
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (264, hard)


def test_fewer_clients_where_the_limit_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (100, 164))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: changes.append(limits))
    clients, note = crowd.affordable_clients(1000)
    assert clients == 50
    assert "only 50 clients" in note
    assert changes == [(164, 164)]


def test_no_limit_needs_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert crowd.affordable_clients(1000) == (1000, "")


async def test_fewer_clients_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(crowd, "affordable_clients", lambda _wanted: (2, "only 2 clients"))
    facts = await crowd.crowd(Console(), Options(clients=5, megabytes=1))
    assert (facts["clients"], facts["accepted"]) == (2, 2)
    assert "note    only 2 clients" in capsys.readouterr().out


async def test_a_wrong_echo_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def garble(connection: StreamSocket) -> None:
        while data := await connection.read():
            await connection.write(data.replace(b"message 3", b"message 4"))

    monkeypatch.setattr(crowd, "echo", garble)
    with pytest.raises(DemoError, match="2 echoes are missing or differ"):
        await crowd.crowd(Console(), Options(clients=2, megabytes=1))
    assert "20 messages of 64 bytes sent, 18 came back right" in capsys.readouterr().out


async def test_progress_counts_clients_and_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = record_progress(monkeypatch, crowd)
    await crowd.crowd(Console(quiet=True), Options(clients=3, megabytes=1))
    assert [(bar.text, bar.total, bar.done) for bar in bars] == [("connecting", 3, 3), ("echoing", 30, 30)]
