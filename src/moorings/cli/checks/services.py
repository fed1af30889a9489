"""Daemons that speak for radios and names, and the settings for proxies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from moorings.cli.checks.bus import BusError, has_owner
from moorings.cli.checks.model import Finding, missing, off, ok

if TYPE_CHECKING:
    from moorings.cli.checks.machine import Machine

AVAHI_SOCKET = "run/avahi-daemon/socket"
WPA_DIRECTORY = "run/wpa_supplicant"
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
SCHEMES = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"}
#: Host and port, nothing that could be a name or a password.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(:\d{1,5})?")


def _daemon(machine: Machine, program: str, package: str, bus_name: str, *, seen: bool = False) -> Finding:
    """`seen`: it has been seen in another way."""
    note = ""
    if not seen:
        try:
            seen = has_owner(machine, bus_name)
        except BusError as error:
            note = f"; {error}"
    if seen:
        return ok(f"{program} runs")
    if machine.find_program(program) is None:
        return missing(f"not installed{note}", f"apt install {package}")
    return off(f"installed, does not run{note}", f"systemctl start {package_unit(package)}")


def package_unit(package: str) -> str:
    """The name of the systemd unit in a Debian package."""
    return {"bluez": "bluetooth", "wpasupplicant": "wpa_supplicant"}.get(package, package)


def bluez(machine: Machine) -> Finding:
    """The daemon for Bluetooth."""
    return _daemon(machine, "bluetoothd", "bluez", "org.bluez")


def wpa_supplicant(machine: Machine) -> Finding:
    """The daemon for Wi-Fi; it may have control sockets, a name on the bus, or both."""
    try:
        seen = any((machine.root / WPA_DIRECTORY).iterdir())
    except FileNotFoundError:
        seen = False
    except PermissionError:  # it made the directory, for a group that we do not belong to
        seen = True
    return _daemon(machine, "wpa_supplicant", "wpasupplicant", "fi.w1.wpa_supplicant1", seen=seen)


def avahi(machine: Machine) -> Finding:
    """The daemon for names and services of the local network."""
    seen = machine.answers(AVAHI_SOCKET)
    return _daemon(machine, "avahi-daemon", "avahi-daemon", "org.freedesktop.Avahi", seen=seen)


def proxy(machine: Machine) -> Finding:
    """The variables that many programs obey; neither user names nor passwords are shown."""
    shown: list[str] = []
    for name in PROXY_VARIABLES:
        for variable in (name, name.upper()):
            value = machine.environ.get(variable)
            if value:
                shown.append(f"{variable} is {without_credentials(value)}")
                break
    if not shown:
        return off("no proxy is set", "")
    exceptions = machine.environ.get("no_proxy") or machine.environ.get("NO_PROXY") or ""
    count = len([entry for entry in exceptions.split(",") if entry.strip()])
    if count:
        shown.append(f"{count} exceptions (no_proxy)")
    return ok(", ".join(shown))


def without_credentials(url: str) -> str:
    """Scheme, host and port of a proxy; what cannot be told apart from a password is not shown."""
    scheme, separator, rest = url.strip().rpartition("://")
    if scheme not in SCHEMES:
        scheme = separator = ""
    credentials, at, address = rest.rpartition("@")
    host = re.split(r"[/?#]", address, maxsplit=1)[0]
    if not _HOST.fullmatch(host) or (not at and "/" in credentials):
        return "set, and not readable as a URL"
    return f"{scheme}{separator}{host}{' (with credentials)' if at else ''}"
