"""What the kernel offers. Every probe stays on the loopback interface, or asks a socket that goes nowhere."""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moorings.cli.checks.machine import PATIENCE, Machine
from moorings.cli.checks.model import Finding, missing, off, ok
from moorings.engine.kernel_tls import USUAL_SUITE, find_obstacle

if TYPE_CHECKING:
    from collections.abc import Generator

# Numbers from linux/udp.h, linux/socket.h: Python knows some of them only since 3.12, or not at all.
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
AF_BLUETOOTH = 31
BTPROTO_RFCOMM = 3

LOCALHOST = "127.0.0.1"
#: More than any kernel has, and as much as the library needs: up to and with tcpi_sndbuf_limited.
TCP_INFO_SIZE, TCP_INFO_NEEDED = 1024, 192
IF_INET6 = "proc/net/if_inet6"
GLOBAL_SCOPE = "00"


@contextmanager
def connected_pair(machine: Machine) -> Generator[socket.socket]:
    """A TCP socket that is connected, on the loopback interface. Errors: OSError."""
    with (
        machine.open_socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        machine.open_socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        listener.bind((LOCALHOST, 0))
        listener.listen(1)
        client.settimeout(PATIENCE)
        client.connect(listener.getsockname())
        yield client


def ipv6(machine: Machine) -> Finding:
    """The loopback address can be bound; there is an address to reach others from."""
    try:
        with machine.open_socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return missing("the kernel has no IPv6", "a kernel with CONFIG_IPV6")
        return off(f"[::1] cannot be bound: {error.strerror}", "sysctl net.ipv6.conf.all.disable_ipv6=0")
    if any(line.split()[3:4] == [GLOBAL_SCOPE] for line in machine.read(IF_INET6).splitlines()):
        return ok("the loopback address works, and there is a global one")
    return off("the loopback address works, no global address", "an IPv6 address from your network")


def tcp_info(machine: Machine) -> Finding:
    """How much the kernel tells about a connection."""
    with connected_pair(machine) as client:
        try:
            length = len(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE))
        except OSError as error:
            return missing(f"the kernel refuses: {error.strerror}", "a kernel (or sandbox) that allows TCP_INFO")
    if length < TCP_INFO_NEEDED:
        return missing(f"{length} bytes, {TCP_INFO_NEEDED} are needed for everything", "Linux 4.10 or newer")
    return ok(f"{length} bytes")


def _udp_option(machine: Machine, option: int, name: str, since: str) -> Finding:
    with machine.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(SOL_UDP, option, 1)
        except OSError as error:
            return missing(f"the kernel refuses {name}: {error.strerror}", f"Linux {since} or newer")
    return ok(f"the kernel takes {name}")


def gso(machine: Machine) -> Finding:
    """Many datagrams in one send."""
    return _udp_option(machine, UDP_SEGMENT, "UDP_SEGMENT", "4.18")


def gro(machine: Machine) -> Finding:
    """Many datagrams in one receive."""
    return _udp_option(machine, UDP_GRO, "UDP_GRO", "5.0")


def kernel_tls(machine: Machine) -> Finding:
    """Both directions of a connected socket, with made-up keys; where it may, the kernel loads its module for that."""
    obstacle = find_obstacle(USUAL_SUITE, machine.open_socket)
    return ok("the kernel takes it over") if obstacle is None else missing(obstacle.found, obstacle.cure)


def bluetooth(machine: Machine) -> Finding:
    """RFCOMM sockets."""
    try:
        machine.open_socket(AF_BLUETOOTH, socket.SOCK_STREAM, BTPROTO_RFCOMM).close()
    except OSError as error:
        return missing(f"no RFCOMM sockets: {error.strerror}", "a kernel with CONFIG_BT_RFCOMM (modprobe rfcomm)")
    return ok("RFCOMM sockets can be made")
