"""Datagram ports on loopback, with plain sockets or other ports at the other end."""

from __future__ import annotations

import asyncio
import socket
import weakref
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tests.engine.pairs import PATIENCE

from moorings._native_switch import native_mode
from moorings.engine.datagram_port import DatagramPort
from moorings.engine.hub import current_hub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moorings.engine.datagram import Datagram

LEAVES: Any = import_module("moorings._native_datagrams" if native_mode()[0] else "moorings._pure_datagrams")
Target = LEAVES.Target

IP_RECVERR = 11
IPV6_RECVERR = 25
HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def udp_socket(family: int = socket.AF_INET, *, bound: bool = True, reports: bool = True) -> socket.socket:
    """A non-blocking UDP socket; `reports`: it hears what ICMP says about its datagrams."""
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    if bound:
        made.bind((HOSTS[socket.AddressFamily(family)], 0))
    if reports:
        made.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    return made


@contextmanager
def port_and_peer(family: int = socket.AF_INET) -> Iterator[tuple[DatagramPort, socket.socket, Any]]:
    """A port, a plain socket, and that socket as a target."""
    ours, theirs = udp_socket(family), udp_socket(family, reports=False)
    port = DatagramPort(current_hub(), ours, "the port")
    try:
        yield port, theirs, Target(theirs.getsockname())
    finally:
        port.abort()
        theirs.close()


@contextmanager
def two_ports(family: int = socket.AF_INET) -> Iterator[tuple[DatagramPort, DatagramPort, Any]]:
    """A port that sends, one that receives, and the latter as a target."""
    ours, theirs = udp_socket(family), udp_socket(family)
    target = Target(theirs.getsockname())
    first = DatagramPort(current_hub(), ours, "the sender")
    second = DatagramPort(current_hub(), theirs, "the receiver")
    try:
        yield first, second, target
    finally:
        first.abort()
        second.abort()


@contextmanager
def clogged_pair() -> Iterator[tuple[DatagramPort, socket.socket, Any]]:
    """A port over a Unix socket: unlike UDP, its peer's full queue blocks it, until the peer reads."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least there is: a few datagrams
    ours.setblocking(False)
    theirs.setblocking(False)
    port = DatagramPort(current_hub(), ours, "the port")
    try:
        yield port, theirs, Target(None)
    finally:
        port.abort()
        theirs.close()


class Owner:
    """What a port's handler belongs to."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.started: list[Any] = []

    def serve(self, port: DatagramPort, handler: Callable[[Any, Datagram], object]) -> Owner:
        port.serve(weakref.ref(self), handler, self._report, self._start)
        return self

    def _report(self, error: Any, _handler: Any) -> None:
        self.reports.append(error)

    def _start(self, _handler: Any, awaitable: Any) -> None:
        self.started.append(asyncio.ensure_future(awaitable))


async def datagrams_at(peer: socket.socket, count: int) -> list[bytes]:
    """The next `count` datagrams at a plain socket."""
    async with asyncio.timeout(PATIENCE):
        return [await asyncio.get_running_loop().sock_recv(peer, 65536) for _ in range(count)]


def waiting_at(peer: socket.socket) -> list[bytes]:
    """The datagrams that wait at a plain socket now."""
    found = []
    while True:
        try:
            found.append(peer.recv(65536))
        except BlockingIOError:
            return found


def closed_address(family: int = socket.AF_INET) -> Any:
    """An address at which nobody listens."""
    with udp_socket(family) as gone:
        return gone.getsockname()
