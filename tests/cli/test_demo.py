"""The demonstration runs, tells what it does, and ends as it says."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import moorings
from moorings import errors
from moorings.cli import demo
from moorings.cli.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-W", "error", "-m", "moorings.cli.demo"]
PATIENCE = 50.0
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
    "round trip time:",
    "Mbit/s out",
    "class    ConnectionRefusedError",
    "winerror -2147014835 (0x8007274D)",
    "status   CONNECTION_REFUSED",
    "no-such-host.invalid",
    "host name 'not a host name'",
    "all steps went well",
)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(moorings.__file__).parents[1])}


@pytest.fixture
def descriptor_limit() -> Iterator[None]:
    """Puts the limit back that a test changes."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_all_steps(loop: str) -> None:
    command = [*COMMAND, "--clients", "30", "--megabytes", "1", "--loop", loop]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    first = done.stdout.splitlines()[0]
    native, reason = moorings.native_mode()
    assert first.startswith(f"moorings {moorings.__version__}, {'native' if native else reason}")
    assert loop in first
    position = 0
    for step in STEPS:
        position = done.stdout.find(step, position)
        assert position >= 0, f"{step!r} is missing, or too early, in\n{done.stdout}"
    assert "\x1b" not in done.stdout


def test_interrupt_is_quiet() -> None:
    with subprocess.Popen(COMMAND, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while b"listening" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert not complaints


def test_reader_of_the_output_may_go() -> None:
    with subprocess.Popen(COMMAND, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        complaints = process.stderr.read()
        assert process.wait(PATIENCE) == 0
    assert not complaints


@pytest.mark.parametrize("arguments", [["--clients", "0"], ["--megabytes", "x"], ["--loop", "trio"], ["extra"]])
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        demo.main(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        demo.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "Exit codes:" in text


def test_failed_step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def refused(_console: Console, _options: demo.Options) -> None:
        await moorings.connect("tcp://127.0.0.1:1")

    async def passes(console: Console, _options: demo.Options) -> None:
        console.say("client", "still here")

    monkeypatch.setattr(demo, "PARTS", (("Fails", refused), ("Passes", passes)))
    assert demo.main(["--loop", "asyncio"]) == 1
    output = capsys.readouterr().out
    assert "FAILED  ConnectionRefusedError: " in output
    assert "still here" in output
    assert output.endswith("a step failed\n")


async def test_failure_that_does_not_come_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    async def succeed() -> None:
        await asyncio.sleep(0)

    with pytest.raises(demo.DemoError, match="did not fail"):
        await demo.expect_failure(Console(), "succeeding", succeed)
    assert "succeeding" in capsys.readouterr().out


@pytest.mark.usefixtures("descriptor_limit")
def test_descriptor_limit_is_raised() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    assert demo.affordable_clients(100) == (100, "")
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (264, hard)


def test_fewer_clients_where_the_limit_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (100, 164))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: changes.append(limits))
    clients, note = demo.affordable_clients(1000)
    assert clients == 50
    assert "only 50 clients" in note
    assert changes == [(164, 164)]


def test_no_limit_needs_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert demo.affordable_clients(1000) == (1000, "")


def test_name_of_the_class_to_catch() -> None:
    assert demo.class_name(errors.closed("x")) == "OSError"
    assert demo.class_name(errors.make(errors.WSAECONNREFUSED, "x")) == "ConnectionRefusedError"
    assert demo.class_name(errors.make(errors.WSAHOST_NOT_FOUND, "x")) == "socket.gaierror"
