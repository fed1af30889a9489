"""What the kernel offers, and what it says where it does not."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.checks.machines import refusing, write

from moorings.cli.checks import kernel
from moorings.cli.checks.machine import Machine
from moorings.cli.checks.model import Finding, State, missing, ok

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo\n"
LINK = "fe8000000000000002155dfffe000001 02 40 20 80     eth0\n"
GLOBAL = "20010db8000000000000000000000001 02 40 00 80     eth0\n"


class Accepting(socket.socket):
    """Takes every option; answers TCP_INFO with the bytes that `size` says."""

    size = 280

    def __init__(self, *_arguments: Any) -> None:
        super().__init__()

    def bind(self, address: Any) -> None:
        super().bind(("127.0.0.1", 0))

    def setsockopt(self, *_arguments: Any) -> None:
        pass

    def getsockopt(self, *_arguments: Any) -> Any:
        return bytes(self.size)


@pytest.mark.parametrize(
    ("addresses", "state", "found"),
    [
        (LOOPBACK + LINK + GLOBAL, State.OK, "there is a global one"),
        (LOOPBACK + LINK, State.OFF, "no global address"),
        ("", State.OFF, "no global address"),
    ],
)
def test_ipv6(tmp_path: Path, addresses: str, state: State, found: str) -> None:
    write(tmp_path, kernel.IF_INET6, addresses)
    finding = kernel.ipv6(Machine(root=tmp_path, open_socket=Accepting))
    assert (finding.state, found in finding.found) == (state, True)
    assert bool(finding.install) == (state is not State.OK)


def test_ipv6_switched_off() -> None:
    finding = kernel.ipv6(Machine(open_socket=refusing(bind=errno.EADDRNOTAVAIL)))
    assert (finding.state, finding.install) == (State.OFF, "sysctl net.ipv6.conf.all.disable_ipv6=0")


def test_no_ipv6() -> None:
    finding = kernel.ipv6(Machine(open_socket=refusing(open=errno.EAFNOSUPPORT)))
    assert finding == missing("the kernel has no IPv6", "a kernel with CONFIG_IPV6")


def test_tcp_info(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel.tcp_info(Machine(open_socket=Accepting)) == ok("280 bytes")
    monkeypatch.setattr(Accepting, "size", 104)
    finding = kernel.tcp_info(Machine(open_socket=Accepting))
    assert finding == missing("104 bytes, 192 are needed for everything", "Linux 4.10 or newer")


def test_no_tcp_info() -> None:
    finding = kernel.tcp_info(Machine(open_socket=refusing(getsockopt=errno.EPERM)))
    assert (finding.state, "Operation not permitted" in finding.found) == (State.MISSING, True)


@pytest.mark.parametrize(
    ("probe", "name", "since"), [(kernel.gso, "UDP_SEGMENT", "4.18"), (kernel.gro, "UDP_GRO", "5.0")]
)
def test_udp_offload(probe: Callable[[Machine], Finding], name: str, since: str) -> None:
    assert probe(Machine(open_socket=Accepting)) == ok(f"the kernel takes {name}")
    finding = probe(Machine(open_socket=refusing(setsockopt=errno.ENOPROTOOPT)))
    assert finding == missing(f"the kernel refuses {name}: Protocol not available", f"Linux {since} or newer")


def test_kernel_tls() -> None:
    assert kernel.kernel_tls(Machine(open_socket=Accepting)) == ok("the kernel takes it over")
    for number, install in ((errno.ENOENT, "modprobe tls"), (errno.ENOPROTOOPT, "CONFIG_TLS")):
        finding = kernel.kernel_tls(Machine(open_socket=refusing(setsockopt=number)))
        assert finding.state is State.MISSING
        assert install in finding.install


def test_bluetooth() -> None:
    assert kernel.bluetooth(Machine(open_socket=Accepting)) == ok("RFCOMM sockets can be made")
    finding = kernel.bluetooth(Machine(open_socket=refusing(open=errno.EAFNOSUPPORT)))
    assert (finding.state, finding.found.split(":")[0]) == (State.MISSING, "no RFCOMM sockets")
    assert "rfcomm" in finding.install


@pytest.mark.parametrize(
    "probe",
    [kernel.ipv6, kernel.tcp_info, kernel.gso, kernel.gro, kernel.kernel_tls, kernel.bluetooth],
    ids=lambda probe: probe.__name__,
)
def test_on_this_machine(probe: Callable[[Machine], Finding]) -> None:
    """Whatever it finds here: it ends, it says something, and what is not there has a cure."""
    finding = probe(Machine())
    assert finding.found
    assert bool(finding.install) == (finding.state is not State.OK)
