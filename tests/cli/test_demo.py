"""The demonstration runs, tells what it does, and ends as it says."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import moorings
from moorings.cli import app, demo
from moorings.cli.tour.common import DemoError, Facts, Options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from moorings.cli.console import Console

    Part = Callable[[Console, Options], Awaitable[Facts]]

COMMAND = [sys.executable, "-W", "error", "-m", "moorings", "demo"]
SMALL = ["--clients", "30", "--megabytes", "1", "--packets", "1000"]
PATIENCE = 50.0
WEB = ("web_sockets", "browser")
STEPS = (
    "server  binding to 127.0.0.1",
    "client  connecting to 127.0.0.1",
    "server  connection received from 127.0.0.1",
    "client  connected from port",
    'client  sent "Hello, World!"',
    'server  read "Hello, World!"',
    'server  sent back "Hello, World!"',
    'client  received "Hello, World!"',
    "client  30 clients connected",
    "server  30 connections open at the same time",
    "300 messages of 64 bytes sent, 300 came back right",
    "server  accepted 30, cut off 0",
    "1 MiB sent in",
    "µs smoothed",
    "Mbit/s out",
    "client  end reason CLOSED_BY_US",
    "server  end reason CLOSED_BY_PEER",
    "server  made itself a certificate for 'demo.example'",
    "client  connecting to 127.0.0.1",
    "status   CERTIFICATE_UNTRUSTED_ROOT",
    "errors   UNTRUSTED, INVALID_NAME",
    "severity IGNORABLE",
    "it was   'demo.example', until",
    "client  makes UNTRUSTED and INVALID_NAME ignorable, and connects the same socket again",
    "client  connected: TLS13, TLS_",
    'client  received "Hello, World!"',
    "server  listening on port",
    "server  connection received from 'a client of the demo', asked for 'demo.example'",
    "client  connected: PLAIN_SOCKET",
    'server  read "STARTTLS" in the clear',
    "client  the same connection is now protected by TLS13",
    'server  read "Hello, World!" through TLS',
    "server  bound to port",
    "client  bound to port",
    'client  sent "Hello, World!"',
    'server  received "Hello, World!" from 127.0.0.1 port',
    'client  received "Hello, World!"',
    "client  1,000 datagrams of 1,200 bytes sent in",
    "server  1,000 received with",
    "system calls, 0 lost",
    "packets/s,",
    "server  listening on ws://127.0.0.1:",
    "client  connected to ws://127.0.0.1:",
    "server  received 'Hello, World!'",
    "server  the client has closed with 1000: goodbye",
    "server  30 WebSockets are in the room",
    "client  30 clients received it",
    "A browser as the client of a WebSocket",
    "class    ConnectionRefusedError",
    "winerror -2147014835 (0x8007274D)",
    "status   CONNECTION_REFUSED",
    "client  sent a datagram to udp://127.0.0.1:",
    "class    ConnectionResetError",
    "not delivered: nothing listens there",
    "no-such-host.invalid",
    "host name 'not a host name'",
    "all steps went well",
)


def run(*arguments: str, command: list[str] = COMMAND) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(moorings.__file__).parents[1])}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_all_steps(loop: str) -> None:
    done = run(*SMALL, "--loop", loop)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    first = done.stdout.splitlines()[0]
    native, reason = moorings.native_mode()
    assert first.startswith(f"moorings {moorings.__version__}, {'native' if native else reason}")
    assert loop in first
    position = 0
    for step in STEPS:
        position = done.stdout.find(step, position)
        assert position >= 0, f"{step!r} is missing, or too early, in\n{done.stdout}"


def test_summary_for_scripts() -> None:
    done = run(*SMALL, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert summary["ok"] is True
    assert summary["moorings"] == moorings.__version__
    assert (summary["native"], summary["native_reason"]) == moorings.native_mode()
    parts: dict[str, dict[str, Any]] = summary["parts"]
    assert list(parts) == ["echo", "clients", "transfer", "tls", "datagram_echo", "datagram_batch", *WEB, "failures"]
    assert all(part["ok"] and part["elapsed_seconds"] > 0 for part in parts.values())
    assert parts["echo"]["echo"] == "Hello, World!"
    clients = parts["clients"]
    assert (clients["clients"], clients["messages"], clients["echoes_right"], clients["cut_off"]) == (30, 300, 300, 0)
    assert parts["transfer"]["bytes"] == parts["transfer"]["client"]["bytes_sent"] == 1 << 20
    assert parts["transfer"]["client"]["end_reason"] == "CLOSED_BY_US"
    assert parts["transfer"]["client"]["round_trip_us"]["smoothed"] > 0
    tls = parts["tls"]
    assert (tls["refused"]["errors"], tls["refused"]["severity"]) == (["UNTRUSTED", "INVALID_NAME"], "IGNORABLE")
    assert tls["retried"]["protection_level"] == tls["upgraded"]["protection_level"] == "TLS13"
    assert tls["client_certificate"]["seen_by_server"] == "a client of the demo"
    assert parts["datagram_echo"]["echo"] == "Hello, World!"
    batch = parts["datagram_batch"]
    assert (batch["packets"], batch["received"], batch["lost"]) == (1000, 1000, 0)
    assert batch["calls_per_packet"] <= 2
    web_sockets = parts["web_sockets"]
    assert (web_sockets["echo"], web_sockets["clients"], web_sockets["received_right"]) == ("Hello, World!", 30, 30)
    assert parts["browser"]["browser"] is None or len(parts["browser"]["words"]) == 2
    assert parts["failures"]["refused"]["class"] == "ConnectionRefusedError"
    assert parts["failures"]["undelivered"]["class"] == "ConnectionResetError"


def test_the_module_is_the_command() -> None:
    done = run("--help", command=[sys.executable, "-W", "error", "-m", "moorings.cli.demo"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("--help").stdout
    assert done.stdout.startswith("Usage: moorings demo [OPTIONS]")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clients", "0"],
        ["--clients", "10001"],
        ["--megabytes", "x"],
        ["--megabytes", "4097"],
        ["--packets", "0"],
        ["--loop", "trio"],
    ],
)
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["demo", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"moorings demo: invalid value for '{arguments[0]}'")
    assert output.err.endswith("; see 'moorings demo --help'\n")
    assert output.err.count("\n") == 1


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert app.main(["demo", "--loop", "uvloop"]) == 1
    assert capsys.readouterr().err == "moorings: uvloop is not installed (pip install 'moorings[uvloop]')\n"


# -- a step that fails -----------------------------------------------------------------------------------------------


async def refused(_console: Console, _options: Options) -> Facts:
    await moorings.connect("tcp://127.0.0.1:1")
    return {}


async def wrong(_console: Console, _options: Options) -> Facts:
    await asyncio.sleep(0)
    raise DemoError("two echoes differ")


async def stuck(_console: Console, _options: Options) -> Facts:
    await asyncio.get_running_loop().create_future()
    return {}


async def cut_short(_console: Console, _options: Options) -> Facts:
    await asyncio.sleep(0)
    raise asyncio.IncompleteReadError(b"ab", 4)


async def passes(console: Console, options: Options) -> Facts:
    await asyncio.sleep(0)
    console.say("client", "still here")
    return {"clients": options.clients}


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        (refused, "ConnectionRefusedError: connecting to 127.0.0.1:1: refused"),
        (wrong, "DemoError: two echoes differ"),
        (stuck, "TimeoutError: "),
        (cut_short, "IncompleteReadError: 2 bytes read"),
    ],
)
def test_failed_step(
    part: Part, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PARTS", (("first", "Fails", part), ("second", "Passes", passes)))
    if part is stuck:
        monkeypatch.setattr(demo, "PATIENCE", 0.0)
    assert app.main(["demo", "--loop", "asyncio"]) == 1
    output = capsys.readouterr()
    assert f"FAILED  {complaint}" in output.out
    assert "all steps" not in output.out
    if part is not stuck:
        assert "still here" in output.out
        assert output.err == "moorings: a step failed: Fails\n"


def test_failed_step_in_the_summary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "PARTS", (("first", "Fails", wrong), ("second", "Passes", passes)))
    assert app.main(["demo", "--loop", "asyncio", "--json"]) == 1
    output = capsys.readouterr()
    summary = json.loads(output.out)
    assert summary["ok"] is False
    assert summary["parts"]["first"]["ok"] is False
    assert summary["parts"]["first"]["error"] == "DemoError: two echoes differ"
    assert summary["parts"]["second"]["ok"] is True
    assert summary["parts"]["second"]["clients"] == 1000
    assert output.err == "moorings: a step failed: Fails\n"
