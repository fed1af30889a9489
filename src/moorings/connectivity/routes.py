"""Which interfaces lead out of the machine's own networks: the default routes in the kernel's main tables."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Lines of a route table that are looked at; a router with all routes of the Internet has a million.
ROUTE_LIMIT = 4096

_RTF_UP = 0x1
_RTF_REJECT = 0x200
_PROCESS_NETWORK = Path("/proc/self/net")


def default_route_interfaces_v4(lines: Iterable[str]) -> set[str]:
    """Names of interfaces with an IPv4 default route, from the lines of /proc/net/route (proc_net(5))."""
    found: set[str] = set()
    for fields in (line.split() for line in lines):
        if len(fields) >= 8 and fields[1] == "00000000" and fields[7] == "00000000" and _usable(fields[3]):
            found.add(fields[0])
    return found


def default_route_interfaces_v6(lines: Iterable[str]) -> set[str]:
    """Names of interfaces with an IPv6 default route, from the lines of /proc/net/ipv6_route."""
    found: set[str] = set()
    for fields in (line.split() for line in lines):
        if len(fields) >= 10 and fields[0] == "0" * 32 and fields[1] == "00" and _usable(fields[8]):
            found.add(fields[9])
    return found


def default_route_interfaces(folder: Path = _PROCESS_NETWORK) -> set[str]:
    """Names of interfaces with a default route of either family."""
    found = default_route_interfaces_v4(_lines(folder / "route"))
    return found | default_route_interfaces_v6(_lines(folder / "ipv6_route"))


def _lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="ascii", errors="replace") as table:
            return list(islice(table, ROUTE_LIMIT))
    except OSError:
        return []  # no /proc, or a kernel without this family: no such route


def _usable(flags: str) -> bool:
    try:
        number = int(flags, 16)
    except ValueError:
        return False
    return bool(number & _RTF_UP) and not number & _RTF_REJECT
