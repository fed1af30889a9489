"""What the library runs on, there and not there."""

from __future__ import annotations

import asyncio
import platform
import ssl
import sys
from importlib import import_module
from typing import Any

import pytest

from moorings import errors, native_mode
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


@pytest.mark.parametrize(
    ("obstacle", "environ", "finding"),
    [
        ("", {}, ok(f"{ssl.OPENSSL_VERSION}, called directly")),
        ("why not", {}, ok(f"{ssl.OPENSSL_VERSION}, through the module ssl (why not)")),
        (
            "MOORINGS_DIRECT_TLS=off",
            {"MOORINGS_DIRECT_TLS": "off"},
            off(
                f"{ssl.OPENSSL_VERSION}, through the module ssl (MOORINGS_DIRECT_TLS=off)", "unset MOORINGS_DIRECT_TLS"
            ),
        ),
    ],
)
def test_tls(obstacle: str, environ: dict[str, str], finding: Finding) -> None:
    assert core.tls(Machine(environ=environ, direct_tls=lambda: obstacle)) == finding


def test_tls_of_this_machine() -> None:
    leaves: Any = import_module("moorings.engine." + ("_records" if native_mode()[0] else "_pure_records"))
    assert Machine().direct_tls() == leaves.status()


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
