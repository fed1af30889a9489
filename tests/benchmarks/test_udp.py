"""The datagram benchmark: every contestant takes part, and the figures come out."""

from __future__ import annotations

import json
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from moorings.benchmarks import udp, udp_driver
from moorings.benchmarks.processes import BenchmarkError, Workshop, python
from moorings.cli.app import main

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SECONDS = 0.02
PATIENCE = 50.0


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with Workshop() as made:
        udp.compile_c(made)
        yield made


def test_sending_receiving_and_echoing_short_and_long_to_one_and_many() -> None:
    cases = {(part.part, part.size, part.peers) for part in udp.PARTS}
    assert cases > set(product(["send", "receive", "echo"], [64, 1200], [1, 1000]))
    assert set(udp.QUICK) < {part.name for part in udp.PARTS}


@pytest.mark.parametrize("part", udp.PARTS, ids=lambda part: part.name)
def test_ours_take_every_part(workshop: Workshop, part: udp.Part) -> None:
    sample = udp.turn(workshop, udp.OURS, part, SECONDS)
    assert sample.cpu > 0
    assert sample.rate > 0


@pytest.mark.parametrize("name", ["batch-1200b", "exchange-64b", "send-64b-peers", "receive-1200b", "echo-64b-peers"])
def test_everybody_takes_part(workshop: Workshop, name: str) -> None:
    part = next(part for part in udp.PARTS if part.name == name)
    entries = udp.choose(part, has_c=workshop.has_c)
    assert {entry.kind for entry in entries} >= {"moorings", "sockets", "endpoints", "aiofastnet", "anyio"}
    with ThreadPoolExecutor(2) as pool:
        samples = list(pool.map(lambda entry: udp.turn(workshop, entry, part, SECONDS), entries))
    assert all(sample.cpu > 0 and sample.rate > 0 for sample in samples)


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "has_package", lambda name: name == "uvloop")
    monkeypatch.setattr(udp, "c_compiler", lambda: None)
    assert udp.missing() == {
        "aiofastnet": "pip install aiofastnet",
        "anyio": "pip install anyio",
        "C": "apt install gcc libc6-dev",
    }
    kinds = {entry.kind for entry in udp.choose(udp.PARTS[0], has_c=False)}
    assert kinds == {"moorings", "sockets", "endpoints"}


def test_a_contestant_that_does_not_end_is_ended(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    part = next(part for part in udp.PARTS if part.part == "echo")
    monkeypatch.setattr(udp, "PATIENCE", 0.0)
    with pytest.raises(BenchmarkError, match="did not end within"):
        udp.turn(workshop, udp.OURS, part, 0.01)


@contextmanager
def driven(part: str) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket, socket.socket]]:
    """The driver with two peers, the way to it, and the socket to which it sends batches of three."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as contestant:
        contestant.bind(("127.0.0.1", 0))
        for each in (ours, contestant):
            each.settimeout(PATIENCE)
        command = [*python(udp.HERE / "udp_driver.py"), part, "10", "2", str(theirs.fileno())]
        with subprocess.Popen(command, pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE) as driver:
            theirs.close()
            ours.sendall(udp_driver.GREETING.pack(contestant.getsockname()[1], 3))
            try:
                yield driver, ours, contestant
            finally:
                ours.close()
                if driver.poll() is None:
                    driver.wait(PATIENCE)


@pytest.mark.parametrize("part", ["receive", "echo"])
def test_the_other_end_sends_when_it_is_asked(part: str) -> None:
    with driven(part) as (driver, ours, contestant):
        senders: list[Any] = []
        for _ in range(2):
            ours.sendall(b"g")
            assert ours.recv(1) == b"a"
            for _ in range(3):
                data, sender = contestant.recvfrom(100)
                assert data == b"m" * 10
                senders.append(sender)
                if part == "echo":
                    contestant.sendto(data, sender)
        assert senders[:2] * 3 == senders
        assert senders[0] != senders[1]
        contestant.setblocking(False)
        with pytest.raises(BlockingIOError):
            contestant.recv(100)
        ours.close()
        assert driver.wait(PATIENCE) == 0


def test_the_other_end_notices_a_wrong_echo() -> None:
    with driven("echo") as (driver, ours, contestant):
        ours.sendall(b"g")
        assert ours.recv(1) == b"a"
        contestant.sendto(b"m" * 9, contestant.recvfrom(100)[1])
        ours.sendall(b"g")
        assert ours.recv(1) == b""
        assert driver.wait(PATIENCE) == 1
        assert driver.stderr is not None
        assert b"not what was sent" in driver.stderr.read()


def test_a_contestant_that_fails_is_named(workshop: Workshop) -> None:
    with pytest.raises(BenchmarkError, match="nobody"):
        udp.turn(workshop, udp.Contestant("nobody", "nobody", "nobody"), udp.PARTS[0], SECONDS)


def test_the_document_has_figures_and_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "udp.json"
    assert main(["bench", "udp", "--only", "exchange", "--pairs", "1", "--seconds", "0.02", "--json", str(target)]) == 0
    (part,) = json.loads(target.read_text())["parts"]
    assert {"moorings-asyncio", "sockets"} <= set(part["figures"])
    assert all(ratio["median"] > 0 and ratio["pairs"] == 1 for ratio in part["ratios"])
    assert "moorings on asyncio" in capsys.readouterr().out


def test_quick_measures_a_choice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    measured: list[tuple[str, ...]] = []

    def run(_workshop: Workshop, parts: Sequence[udp.Part], *_: object) -> udp.Measured:
        measured.append(tuple(part.name for part in parts))
        return udp.Measured()

    monkeypatch.setattr(udp, "run", run)
    assert main(["bench", "udp", "--quick"]) == 0
    assert main(["bench", "udp", "--quick", "--only", "send-1200b"]) == 0
    assert [set(names) for names in measured] == [set(udp.QUICK), {"send-1200b", "send-1200b-peers"}]


def test_list_and_wrong_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "udp", "--list"]) == 0
    assert "batch-1200b" in capsys.readouterr().out
    assert main(["bench", "udp", "--only", "nothing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
