"""What the library runs on, there and not there."""

from __future__ import annotations

import asyncio
import platform
import sys

import pytest

from moorings import errors
from moorings.cli.checks import core
from moorings.cli.checks.machine import Machine, find_version
from moorings.cli.checks.model import Finding, State, broken, missing, off, ok


def test_python() -> None:
    assert core.python(Machine()) == ok(f"CPython {platform.python_version()}")


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 9))
    finding = core.python(Machine())
    assert finding.state is State.BROKEN
    assert "Python 3.11" in finding.install


@pytest.mark.parametrize(
    ("mode", "environ", "finding"),
    [
        ((True, "compiled"), {}, ok("native (compiled)")),
        (
            (False, "pure: MOORINGS_NATIVE=off at run time"),
            {"MOORINGS_NATIVE": "off"},
            off("pure: MOORINGS_NATIVE=off at run time", "unset MOORINGS_NATIVE"),
        ),
        (
            (False, "pure: no compiled modules in this installation (no compiler)"),
            {},
            missing(
                "pure: no compiled modules in this installation (no compiler)",
                "apt install gcc libc6-dev python3-dev, then install moorings again",
            ),
        ),
    ],
)
def test_hot_modules(mode: tuple[bool, str], environ: dict[str, str], finding: Finding) -> None:
    assert core.hot_modules(Machine(environ=environ, native_mode=lambda: mode)) == finding


def test_event_loop() -> None:
    assert core.event_loop(Machine(find_version=lambda name: {"uvloop": "0.21.0"}[name])).found.startswith(
        "uvloop 0.21.0"
    )
    finding = core.event_loop(Machine(find_version=lambda _name: None))
    assert finding == missing("asyncio's own loop only", "pip install 'moorings[uvloop]'")


def test_versions() -> None:
    assert find_version("click")
    assert find_version("no-such-distribution") is None


def test_loopback() -> None:
    assert core.loopback(Machine()) == ok("an echo on the loopback interface works")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.make(errors.WSAENETDOWN, "binding: the network is down"), "binding: the network is down"),
        (TimeoutError(), "TimeoutError"),
        (asyncio.IncompleteReadError(b"", 5), "0 bytes read on a total of 5 expected bytes"),
    ],
)
def test_no_loopback(monkeypatch: pytest.MonkeyPatch, error: Exception, text: str) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    monkeypatch.setattr(core, "echo", fail)
    expected = broken(f"no echo on tcp://127.0.0.1: {text}", "the loopback interface: ip link set lo up")
    assert core.loopback(Machine()) == expected
