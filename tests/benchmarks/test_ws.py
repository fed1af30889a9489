"""`moorings bench ws`: tiny runs of it. How big a figure is is no test's business."""

from __future__ import annotations

import json
import socket
import zlib
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from moorings.benchmarks import report, ws
from moorings.benchmarks.figures import Progress
from moorings.benchmarks.processes import BenchmarkError, LoadGenerator, Server, Workshop, has_package
from moorings.cli import app
from moorings.protocols.web_socket_frames import FrameReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = [kind for kind in ws.SERVERS.values() if all(has_package(name) for name in kind.packages)]
SECONDS = 0.02


class Steps(Progress):
    """Counts."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.done = 0

    def advance(self) -> None:
        self.done += 1


def plan_of(*parts: str, peers: tuple[str, ...] = ("websockets",)) -> ws.Plan:
    servers, _ = ws.WS.choose(peers)
    return ws.Plan(parts, tuple(servers), pairs=1, seconds=SECONDS, idle_connections=20, contest=ws.WS)


def test_command_writes_table_json_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, picture = tmp_path / "ws.json", tmp_path / "ws.svg"
    arguments = ["--only", "echo-64b-text-1", "--peers", "websockets,picows", "--pairs", "1", "--seconds", "0.02"]
    arguments += ["--json", str(data), "--plot", str(picture)]
    # (Only the name of the part: the ones with TLS and compression have it in theirs.)
    assert app.main(["bench", "ws", *arguments]) == 0
    output = capsys.readouterr()
    assert "Echo of 64 B text, 1 connection" in output.out
    assert "async for / it" in output.out
    assert output.err.startswith("moorings bench ws: ")
    results = json.loads(data.read_text())
    assert results["benchmark"] == "ws"
    assert [scenario["name"] for scenario in results["scenarios"]] == ["echo-64b-text-1"]
    (scenario,) = results["scenarios"]
    assert {"event-uvloop", "awaited-uvloop", "pure-event", "picows-core", "websockets"} <= set(scenario["figures"])
    assert all(entry["pairs"] == 1 for entry in scenario["ratios"])
    assert "over WS" in picture.read_text()


def test_sizes_kinds_connections_compression_and_tls() -> None:
    kinds = {(it.request, it.text, it.connections, it.deflate, bool(it.tls)) for it in ws.SCENARIOS if not it.cast}
    assert kinds == set(product((64, 4096, 65536, 1 << 20), (False, True), (1, 50), (False, True), (False, True)))
    assert len({scenario.name for scenario in ws.SCENARIOS}) == len(ws.SCENARIOS)
    usual = report.parts(ws.WS, quick=False, only="", count=True)
    everything = report.parts(ws.WS, quick=False, only="", count=True, extra=True)
    assert set(everything) == set(ws.WS.parts)
    assert set(usual) < set(everything)
    assert set(report.parts(ws.WS, quick=True, only="", count=True)) < set(usual)


def test_command_lists_parts_and_servers(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["bench", "ws", "--list"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert {"echo-1mib-text-50-deflate-tls", "broadcast", "slow-readers", "event-uvloop", "websockets"} <= set(lines)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--peers", "trio"], "trio; choose from c,picows,aiohttp,websockets"),
        (["--only", "no such thing"], "no part has 'no such thing' in its name"),
    ],
)
def test_command_refuses_bad_arguments(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["bench", "ws", *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_a_compiler_is_needed(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "has_c_frames", False)
    with pytest.raises(BenchmarkError, match="apt install gcc"):
        ws.WS.run(workshop, plan_of("broadcast"), Steps())


class Heard(FrameReceiver):
    """Keeps the messages."""

    __slots__ = ("messages",)

    def __init__(self, is_client: bool) -> None:
        super().__init__(is_client)
        self.messages: list[str | bytes] = []

    def on_message(self, kind: int, payload: str | bytes) -> None:
        self.messages.append(payload)


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("text", [False, True])
def test_frames_are_what_a_server_expects(size: int, text: bool) -> None:
    data = ws.payload(size, text=text)
    assert len(data) == size
    heard = Heard(is_client=False)
    heard.receive_bytes(ws.frame(data, text, deflate=False))
    assert heard.messages == [data.decode() if text else data]


def test_compressed_frames_say_so() -> None:
    made = ws.frame(b"a" * 100, True, deflate=True)
    size, key, masked = made[1] - 0x80, made[2:6], made[6:]
    assert made[0] == 0xC1
    assert len(masked) == size
    data = bytes(byte ^ key[place % 4] for place, byte in enumerate(masked))
    assert zlib.decompressobj(wbits=-12).decompress(data + b"\0\0\xff\xff") == b"a" * 100


class Client:
    """One connection to a server, in plain sockets."""

    def __init__(self, port: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), 10)
        self.connection.sendall(ws.opening(deflate=False))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.connection.recv(1)
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer  # RFC 6455 section 1.3
        self.heard = Heard(is_client=True)

    def send(self, text: str) -> None:
        self.connection.sendall(ws.frame(text.encode(), True, deflate=False))

    def receive(self) -> str | bytes:
        while not self.heard.messages:
            data = self.connection.recv(65536)
            assert data
            self.heard.receive_bytes(data)
        return self.heard.messages.pop(0)


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_server_echoes_and_casts(workshop: Workshop, kind: ws.ServerKind, clients: ExitStack) -> None:
    assert workshop.has_c_frames
    roles = ["echo"] if "winrt" in kind.name else ["echo", "cast"]
    for role in roles:
        server = clients.enter_context(Server(workshop, kind, role=role))
        first, second = Client(server.port), Client(server.port)
        for each in (first, second):
            clients.callback(each.connection.close)
        if role == "cast":
            second.send("I am here")  # everybody is there as soon as this one has been heard
            assert second.receive() == "I am here"
        first.send("Grüße")
        while first.receive() != "Grüße":
            pass
        if role == "cast":
            assert second.receive() == "Grüße"


@pytest.mark.parametrize("name", ["echo-64kib-text-1", "broadcast", "echo-64b-binary-1-tls"])
def test_everybody_takes_part(workshop: Workshop, name: str) -> None:
    steps = Steps()
    plan = plan_of(name, peers=("c", "picows", "aiohttp", "websockets"))
    few = tuple(replace(scenario, connections=min(scenario.connections, 20)) for scenario in ws.SCENARIOS)
    plan = replace(plan, contest=replace(ws.WS, scenarios=few))
    measured = ws.WS.run(workshop, plan, steps)
    (scenario,) = plan.scenarios
    assert {server for _, server in measured.samples} == {kind.name for kind in plan.taking_part(scenario)}
    assert all(sample.messages > 0 for samples in measured.samples.values() for sample in samples)
    assert steps.done == plan.steps


def test_who_does_not_compress_takes_no_part() -> None:
    plan = plan_of("echo-4kib-text-50-deflate", peers=("c", "picows", "websockets"))
    (scenario,) = plan.scenarios
    names = {kind.name for kind in plan.taking_part(scenario)}
    assert "websockets" in names
    assert not names & {"c", "picows-core"}
    results = report.document(plan, ws.Measured(), {})
    assert not report.failures(results)


def test_memory_with_and_without_compression(workshop: Workshop) -> None:
    plan = plan_of("memory", "memory-deflate")
    measured = ws.WS.run(workshop, plan, Steps())
    assert set(measured.growth) == {kind.name for kind in plan.servers}
    assert "websockets" in measured.deflate_growth
    titles = [table.title for table in report.tables(report.document(plan, measured, {}))]
    assert titles == [
        "Memory for each of 20 idle connections",
        "Memory for each of 20 idle connections, with permessage-deflate",
    ]


def test_clients_that_never_read(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "CROWD", 100)
    monkeypatch.setattr(ws, "FLOOD", 1 << 20)
    plan = plan_of("slow-readers", peers=())
    measured = ws.WS.run(workshop, plan, Steps())
    assert {name for name, crowd in measured.crowds.items() if crowd.before > 0 < crowd.after} == set(ws.OURS)
    (table,) = report.tables(report.document(plan, measured, {}))
    assert table.title == "Clients that never read: what the others notice"
    assert len(table.rows) == len(ws.OURS)


def test_the_generator_refuses_what_is_no_answer(workshop: Workshop, tmp_path: Path) -> None:
    """A server that does not agree to the upgrade ends the measurement."""
    (tmp_path / "frames").write_bytes(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\nm")
    assert workshop.has_c_frames
    with (
        Server(workshop, ws.SERVERS["event-asyncio"]) as server,
        LoadGenerator(workshop, server, 64, frames=tmp_path / "frames") as load,
        pytest.raises(BenchmarkError, match="gave no answer"),
    ):
        load.open(1)
