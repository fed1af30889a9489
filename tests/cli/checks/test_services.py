"""Daemons that run, that do not, that are not installed; and proxies without their passwords."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.checks import buses
from tests.cli.checks.machines import write

from moorings.cli.checks import services
from moorings.cli.checks.machine import Machine
from moorings.cli.checks.model import Finding, State, missing, off, ok

if TYPE_CHECKING:
    from collections.abc import Callable

DAEMONS = [
    (services.bluez, "bluetoothd", "bluez", "bluetooth", "org.bluez"),
    (services.wpa_supplicant, "wpa_supplicant", "wpasupplicant", "wpa_supplicant", "fi.w1.wpa_supplicant1"),
    (services.avahi, "avahi-daemon", "avahi-daemon", "avahi-daemon", "org.freedesktop.Avahi"),
]
each_daemon = pytest.mark.parametrize(("probe", "program", "package", "unit", "name"), DAEMONS)


def there(name: str) -> str:
    return f"/usr/sbin/{name}"


def nowhere(_name: str) -> None:
    return None


@each_daemon
def test_runs(probe: Callable[[Machine], Finding], program: str, package: str, unit: str, name: str) -> None:
    with buses.bus(buses.well_behaved({name})) as root:
        assert probe(Machine(root=root, environ={}, find_program=nowhere)) == ok(f"{program} runs")


@each_daemon
def test_installed(probe: Callable[[Machine], Finding], program: str, package: str, unit: str, name: str) -> None:
    with buses.bus(buses.well_behaved({"another.name"})) as root:
        finding = probe(Machine(root=root, environ={}, find_program=there))
    assert finding == off("installed, does not run", f"systemctl start {unit}")


@each_daemon
def test_not_installed(probe: Callable[[Machine], Finding], program: str, package: str, unit: str, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bus") as root:
        finding = probe(Machine(root=Path(root), environ={}, find_program=nowhere))
    assert finding == missing("not installed; no system bus (No such file or directory)", f"apt install {package}")


def test_control_sockets_of_wpa_supplicant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(root=tmp_path, environ={}, find_program=nowhere)
    (tmp_path / services.WPA_DIRECTORY).mkdir(parents=True)
    assert services.wpa_supplicant(machine).state is State.MISSING
    write(tmp_path, f"{services.WPA_DIRECTORY}/wlan0", "")
    assert services.wpa_supplicant(machine) == ok("wpa_supplicant runs")

    def refuse(_path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert services.wpa_supplicant(machine) == ok("wpa_supplicant runs")


def test_socket_of_avahi() -> None:
    with buses.bus(lambda client: client.shutdown(2)) as root:
        (root / buses.SOCKET).parent.joinpath("../avahi-daemon").mkdir()
        (root / buses.SOCKET).rename(root / services.AVAHI_SOCKET)
        assert services.avahi(Machine(root=root, environ={}, find_program=nowhere)) == ok("avahi-daemon runs")


def test_old_socket_of_avahi(tmp_path: Path) -> None:
    write(tmp_path, services.AVAHI_SOCKET, "")
    assert services.avahi(Machine(root=tmp_path, environ={}, find_program=nowhere)).state is State.MISSING


# -- proxies ---------------------------------------------------------------------------------------------------------


def test_no_proxy() -> None:
    assert services.proxy(Machine(environ={"http_proxy": "", "no_proxy": "localhost"})) == off("no proxy is set", "")


def test_proxies() -> None:
    environ = {
        "http_proxy": "http://proxy.example:3128/",
        "HTTP_PROXY": "http://ignored:1",
        "HTTPS_PROXY": "http://me:secret@proxy.example:3129",
        "all_proxy": "socks5h://[2001:db8::1]:1080",
        "NO_PROXY": "localhost, ,.example.org",
    }
    assert services.proxy(Machine(environ=environ)) == ok(
        "http_proxy is http://proxy.example:3128, "
        "HTTPS_PROXY is http://proxy.example:3129 (with credentials), "
        "all_proxy is socks5h://[2001:db8::1]:1080, "
        "2 exceptions (no_proxy)"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://me:SECRET@host:1",
        "http://me:SECRET@@host:1",
        "http://me:SEC/RET@host",
        "http://me:a://SECRET@host:1",
        "http://a@b:SECRET@host",
        "me:SECRET@host:1",
        "me:SECRET",
        "http://me:SECRET",
        "http://me:SECRET/",
        "http://host:1/?password=SECRET",
        "http://host:1#SECRET",
        "http://me:SECRET@",
        "SECRET SECRET",
        "http://me:p@SECRET:x",
        "://SECRET:x@",
        "\x1b]0;SECRET\x07",
        "SECRET://host",
    ],
)
def test_passwords_are_never_shown(url: str) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        assert "SEC" not in services.proxy(Machine(environ={name: url})).found
        assert "RET" not in services.proxy(Machine(environ={name: url})).found


@given(st.text(), st.text(), st.sampled_from(["http://", "socks5h://", "HTTPS://", "//", ""]), st.booleans())
def test_no_password_is_ever_shown(before: str, after: str, scheme: str, port: bool) -> None:
    shown = services.without_credentials(f"{scheme}me:{before}SECRET{after}@host{':3128' if port else ''}")
    assert "SECRET" not in shown
