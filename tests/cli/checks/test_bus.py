"""A bus that answers, and all kinds that do not: none may hold up or break the question."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest
from tests.cli.checks import buses

from moorings.cli.checks import bus
from moorings.cli.checks.machine import Machine

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

AGREED = b"OK 1234\r\n"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("name", "owned"), [("org.bluez", True), ("org.freedesktop.Avahi", False)])
def test_answers(order: str, name: str, owned: bool) -> None:
    with buses.bus(buses.well_behaved({"org.bluez"}, order=order)) as root:
        assert bus.has_owner(Machine(root=root, environ={}), name) is owned


@pytest.mark.parametrize(
    ("converse", "complaint"),
    [
        (buses.hangs_up, "hung up|Connection reset|Broken pipe"),
        (buses.says(b"REJECTED EXTERNAL\r\n"), "refuses this user"),
        (buses.says(AGREED, b"HTTP/1.1 400 Bad Request"), "does not speak D-Bus"),
        (buses.says(AGREED, buses.message(3)), "answers with an error"),
        (buses.says(AGREED, buses.message(4) * bus.MOST_MESSAGES), "does not answer"),
        (buses.says(AGREED, struct.pack("<cBBBIII", b"l", 2, 0, 1, 1 << 31, 1, 0)), "does not speak D-Bus"),
        (buses.says(b"x" * (bus.LARGEST_MESSAGE + 8192)), "does not speak D-Bus"),
    ],
    ids=["hangs up", "refuses", "speaks HTTP", "error", "only signals", "huge", "endless line"],
)
def test_no_usable_answer(converse: Callable[[socket.socket], None], complaint: str) -> None:
    with buses.bus(converse) as root, pytest.raises(bus.BusError, match=complaint):
        bus.has_owner(Machine(root=root, environ={}), "org.bluez")


@pytest.mark.parametrize("answers", [[b""], [b"OK 12"], [AGREED], [AGREED, b"l\x02\x00\x01"]], ids=str)
def test_a_bus_that_hangs(answers: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "PATIENCE", 0.05)
    with buses.bus(buses.says(*answers)) as root, pytest.raises(bus.BusError, match="does not answer"):
        bus.has_owner(Machine(root=root, environ={}), "org.bluez")


def test_no_bus(tmp_path: Path) -> None:
    with pytest.raises(bus.BusError, match="no system bus"):
        bus.has_owner(Machine(root=tmp_path, environ={}), "org.bluez")


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("", bus.DEFAULT_SOCKET),
        ("unix:path=/tmp/bus", "/tmp/bus"),
        ("unix:guid=1,path=/tmp/bus;unix:path=/tmp/other", "/tmp/bus"),
        ("unix:abstract=/tmp/bus", bus.DEFAULT_SOCKET),
        ("tcp:host=example.org,path=/tmp/bus", bus.DEFAULT_SOCKET),
        (";;=,:unix", bus.DEFAULT_SOCKET),
    ],
)
def test_address(address: str, path: str) -> None:
    assert bus.socket_path(address) == path.lstrip("/")


@pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon (Debian: apt install dbus-daemon)")
def test_a_real_bus() -> None:
    with tempfile.TemporaryDirectory(prefix="bus") as directory:
        address = f"unix:path={directory}/bus"
        with subprocess.Popen(
            ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}", "--print-address"],
            stdout=subprocess.PIPE,
        ) as daemon:
            try:
                assert daemon.stdout is not None
                daemon.stdout.readline()
                machine = Machine(environ={"DBUS_SYSTEM_BUS_ADDRESS": address})
                assert bus.has_owner(machine, "org.freedesktop.DBus")
                assert not bus.has_owner(machine, "org.bluez")
            finally:
                daemon.terminate()
