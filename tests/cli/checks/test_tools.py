"""Programs that are there, and those that are not."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from tests.cli.checks.machines import write

from moorings.cli.checks import tools
from moorings.cli.checks.machine import Machine, find_program
from moorings.cli.checks.model import missing, ok

HEADER = Path(sysconfig.get_path("include"), "Python.h").relative_to("/")


def test_program() -> None:
    probe = tools.program("ss", "iproute2")
    assert probe(Machine(find_program=lambda name: f"/usr/bin/{name}")) == ok("/usr/bin/ss")
    assert probe(Machine(find_program=lambda _name: None)) == missing("not found", "apt install iproute2")


@pytest.mark.parametrize("name", ["chromium", "chromium-headless-shell", "google-chrome"])
def test_browser(name: str) -> None:
    machine = Machine(find_program=lambda wanted: f"/usr/bin/{name}" if wanted == name else None)
    assert tools.browser(machine) == ok(f"/usr/bin/{name}")
    finding = tools.browser(Machine(find_program=lambda _name: None))
    assert finding == missing("not found", "apt install chromium-headless-shell")


@pytest.mark.parametrize("name", ["cc", "gcc", "clang"])
def test_compiler(name: str, tmp_path: Path) -> None:
    machine = Machine(root=tmp_path, find_program=lambda wanted: f"/usr/bin/{name}" if wanted == name else None)
    assert tools.compiler(machine) == missing(f"/usr/bin/{name}, but no Python.h", "apt install python3-dev")
    write(tmp_path, str(HEADER), "")
    assert tools.compiler(machine) == ok(f"/usr/bin/{name}, and Python.h")


def test_no_compiler() -> None:
    finding = tools.compiler(Machine(find_program=lambda _name: None))
    assert finding == missing("no C compiler", "apt install gcc libc6-dev python3-dev")


def test_daemons_are_found_outside_of_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("moorings.cli.checks.machine.DAEMON_DIRECTORIES", (str(tmp_path / "sbin"),))
    assert find_program("bluetoothd") is None
    write(tmp_path, "sbin/bluetoothd", "")
    (tmp_path / "sbin" / "bluetoothd").chmod(0o755)
    assert find_program("bluetoothd") == str(tmp_path / "sbin" / "bluetoothd")
