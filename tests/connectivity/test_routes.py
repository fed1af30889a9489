"""Default routes in the kernel's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorings.connectivity.routes import (
    ROUTE_LIMIT,
    default_route_interfaces,
    default_route_interfaces_v4,
    default_route_interfaces_v6,
)

if TYPE_CHECKING:
    from pathlib import Path

V4 = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
wlan0\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0
*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
bad\t00000000\t00000000\tXYZ\t0\t0\t0\t00000000\t0\t0\t0
short\t00000000
"""
ZERO = "0" * 32
V6 = f"""\
fd{"0" * 30} 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth1
{ZERO} 00 {ZERO} 00 fd{"0" * 29}1 00000400 00000002 00000000 00000003     eth0
{ZERO} 80 {ZERO} 00 {ZERO} 00000000 00000002 00000000 80200001       wlan0
{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo
short
"""


def test_ipv4() -> None:
    assert default_route_interfaces_v4(V4.splitlines()) == {"eth0"}


def test_ipv6() -> None:
    assert default_route_interfaces_v6(V6.splitlines()) == {"eth0"}


def test_files(tmp_path: Path) -> None:
    assert default_route_interfaces(tmp_path) == set()
    (tmp_path / "route").write_text(V4.replace("eth0", "four"))
    (tmp_path / "ipv6_route").write_text(V6.replace("eth0", "six"))
    assert default_route_interfaces(tmp_path) == {"four", "six"}


def test_a_huge_table_is_read_in_part(tmp_path: Path) -> None:
    lines = V4.splitlines()
    (tmp_path / "route").write_text("\n".join([lines[5]] * ROUTE_LIMIT + [lines[1]]))
    assert default_route_interfaces(tmp_path) == set()
    (tmp_path / "route").write_text("\n".join([lines[5]] * (ROUTE_LIMIT - 1) + [lines[1]]))
    assert default_route_interfaces(tmp_path) == {"eth0"}
