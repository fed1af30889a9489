"""Making a UDP socket: options, binding, connecting, and the interfaces for multicast and broadcast.

Sources: udp(7), ip(7), ipv6(7), socket(7), linux/in.h, linux/in6.h, linux/udp.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.connectivity import rtnetlink
from moorings.names.endpoints import Candidate, endpoint_text
from moorings.sockets.binding import LocalBinding
from moorings.sockets.enums import SocketQualityOfService
from moorings.sockets.opening import bind_to_adapter, local_port, local_sockaddr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorings.connectivity.network_adapter import NetworkAdapter
    from moorings.names.host_name import HostName

# What the socket module does not name.
_IP_MTU_DISCOVER = 10
_IP_RECVERR = 11
_IP_RECVTTL = 12
_IP_PKTINFO = 8
_IP_UNICAST_IF = 50
_IP_MULTICAST_ALL = 49
_IPV6_MTU_DISCOVER = 23
_IPV6_RECVERR = 25
_IPV6_MULTICAST_ALL = 29
_SOL_UDP = 17
_UDP_GRO = 104
_SO_TIMESTAMPNS = 35
_PMTUDISC_DONT = 0
_PMTUDISC_DO = 2
_IFF_BROADCAST = 0x2
# SO_PRIORITY 6 is the interactive band of the default queueing discipline (tc-prio(8)); IPTOS_LOWDELAY from ip(7).
_INTERACTIVE_PRIORITY = 6
_LOW_DELAY = 0x10
# struct ip_mreqn: group, local address (left to the interface), interface.
_MREQN = struct.Struct("=4s4xi")
_PACKET_INFO = struct.Struct("=i8x")
_MAPPED_PREFIX = "::ffff:"

BROADCAST = "255.255.255.255"


@dataclass(slots=True)
class DatagramSettings:
    """Values of a DatagramSocketControl."""

    quality_of_service: SocketQualityOfService = SocketQualityOfService.NORMAL
    outbound_unicast_hop_limit: int = 128
    inbound_buffer_size: int | None = None
    dont_fragment: bool = False
    multicast_only: bool = False

    def apply(self, plain_socket: socket.socket) -> None:
        """Set the options of a socket that is not bound yet."""
        v6 = plain_socket.family == socket.AF_INET6
        if self.inbound_buffer_size is not None:
            plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.inbound_buffer_size)
        if self.multicast_only:
            plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        plain_socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        discovery = _PMTUDISC_DO if self.dont_fragment else _PMTUDISC_DONT
        # A socket for both families needs the IPv4 options too, for its mapped peers.
        options = [
            (socket.IPPROTO_IP, _IP_MTU_DISCOVER, discovery),
            (socket.IPPROTO_IP, _IP_RECVERR, 1),
            (socket.IPPROTO_IP, _IP_PKTINFO, 1),
            (socket.IPPROTO_IP, socket.IP_RECVTOS, 1),
            (socket.IPPROTO_IP, _IP_RECVTTL, 1),
            (socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0),
        ]
        if v6:
            options += [
                (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, discovery),
                (socket.IPPROTO_IPV6, _IPV6_RECVERR, 1),
                (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1),
                (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1),
                (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1),
            ]
        if self.quality_of_service == SocketQualityOfService.LOW_LATENCY:
            options.append((socket.IPPROTO_IP, socket.IP_TOS, _LOW_DELAY))
            if v6:
                options.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _LOW_DELAY))
            # Behind the mark, which changes it.
            options.append((socket.SOL_SOCKET, socket.SO_PRIORITY, _INTERACTIVE_PRIORITY))
        for level, name, value in options:
            plain_socket.setsockopt(level, name, value)
        self.apply_hop_limit(plain_socket)
        _try(plain_socket, _SOL_UDP, _UDP_GRO, 1)
        if v6:
            _try(plain_socket, socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)

    def apply_hop_limit(self, plain_socket: socket.socket) -> None:
        """Set the hop limit of outgoing unicast packets, also later."""
        plain_socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self.outbound_unicast_hop_limit)
        if plain_socket.family == socket.AF_INET6:
            plain_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, self.outbound_unicast_hop_limit)


def _try(plain_socket: socket.socket, level: int, name: int, value: int) -> None:
    """Set an option that older kernels do not have (UDP_GRO: 5.0, IPV6_MULTICAST_ALL: 4.20)."""
    try:
        plain_socket.setsockopt(level, name, value)
    except OSError as error:
        if error.errno not in {errno.ENOPROTOOPT, errno.EOPNOTSUPP}:
            raise


class DatagramBinding(LocalBinding):
    """One bind or connect: from which address, port and adapter, and with which options."""

    protocol = "udp"
    other_way = "share with multicast_only"

    def __init__(
        self, settings: DatagramSettings, host: HostName | None, service: str, adapter: NetworkAdapter | None
    ) -> None:
        super().__init__(host, service, adapter)
        self._settings = settings

    async def connect(self, candidates: Sequence[Candidate]) -> tuple[socket.socket, Candidate]:
        """A socket that is connected to the first candidate to which there is a way."""
        failure: OSError | None = None
        for candidate in candidates:
            try:
                local: tuple[Any, ...] | None = None
                if self._host is not None:
                    local = await local_sockaddr(self._host, self._service, candidate.family, "udp")
                elif self._service not in {"", "0"}:
                    port = await local_port(self._service, "udp")
                    local = ("::", port, 0, 0) if candidate.family == socket.AF_INET6 else ("0.0.0.0", port)
                return self._connect(candidate, local), candidate
            except OSError as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def _open(self, family: int, sockaddr: tuple[Any, ...]) -> socket.socket:
        try:
            plain_socket = self._make(family)
            try:
                plain_socket.bind(sockaddr)
            except BaseException:
                plain_socket.close()
                raise
        except OSError as error:
            raise self._failure(f"binding to {endpoint_text(str(sockaddr[0]), sockaddr[1])}", error) from error
        return plain_socket

    def _connect(self, candidate: Candidate, local: tuple[Any, ...] | None) -> socket.socket:
        refuse_multicast(candidate)
        try:
            plain_socket = self._make(candidate.family)
            try:
                if local is not None:
                    plain_socket.bind(local)
                connect_socket(plain_socket, candidate.sockaddr)
            except BaseException:
                plain_socket.close()
                raise
        except OSError as error:
            raise self._failure(f"connecting to {candidate}", error) from error
        return plain_socket

    def _make(self, family: int) -> socket.socket:
        plain_socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                plain_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self._host is not None)
            self._settings.apply(plain_socket)
            if self._adapter is not None:
                keep_to_adapter(plain_socket, self._adapter)
        except BaseException:
            plain_socket.close()
            raise
        return plain_socket


def keep_to_adapter(plain_socket: socket.socket, adapter: NetworkAdapter) -> None:
    """Send and receive through one interface only, multicast too. ERROR_NOT_SUPPORTED where that is not permitted."""
    if not bind_to_adapter(plain_socket, adapter):
        raise errors.not_supported("binding to one adapter", "permission for SO_BINDTODEVICE (CAP_NET_RAW)")
    index = adapter.interface_index
    plain_socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _MREQN.pack(bytes(4), index))
    if plain_socket.family == socket.AF_INET6:
        plain_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)


def connect_socket(plain_socket: socket.socket, sockaddr: tuple[Any, ...]) -> None:
    """Connect; the broadcast address is one of the first adapter that has broadcasts."""
    if plain_text(sockaddr) == BROADCAST:
        interfaces = broadcast_interfaces()
        if interfaces:
            plain_socket.setsockopt(socket.IPPROTO_IP, _IP_UNICAST_IF, socket.htonl(interfaces[0]))
    plain_socket.connect(sockaddr)


def disconnect_socket(plain_socket: socket.socket, local: tuple[Any, ...]) -> None:
    """Undo a connect, which gives back what the kernel had chosen, and take `local` again (connect(2), AF_UNSPEC)."""
    import ctypes  # noqa: PLC0415 - for a connect that is cancelled in the very moment in which it succeeds

    unspecified = bytes(16)
    ctypes.CDLL(None, use_errno=True).connect(plain_socket.fileno(), unspecified, len(unspecified))
    if plain_socket.getsockname()[1] == 0:
        plain_socket.bind(local)


def plain_text(sockaddr: tuple[Any, ...]) -> str:
    """The address in a socket address, without scope; an IPv4 one of a socket for both families as what it is."""
    text = str(sockaddr[0]).partition("%")[0]
    return text[len(_MAPPED_PREFIX) :] if text.startswith(_MAPPED_PREFIX) and "." in text else text


def is_multicast(sockaddr: tuple[Any, ...]) -> bool:
    """Whether a socket address is that of a group."""
    return ipaddress.ip_address(plain_text(sockaddr)).is_multicast


def refuse_multicast(candidate: Candidate) -> None:
    """A group cannot be the one peer of a socket: WSAHOST_NOT_FOUND, as on Windows."""
    if is_multicast(candidate.sockaddr):
        hint = "send with get_output_stream_async, receive with join_multicast_group"
        raise errors.make(errors.WSAHOST_NOT_FOUND, f"{candidate} is a multicast address and no peer; {hint}")


def fit_family(sockaddr: tuple[Any, ...], family: int) -> tuple[Any, ...]:
    """A socket address as a socket of `family` takes it. WSAEAFNOSUPPORT for an IPv6 address on an IPv4 socket."""
    if len(sockaddr) == 2:
        return (_MAPPED_PREFIX + sockaddr[0], sockaddr[1], 0, 0) if family == socket.AF_INET6 else sockaddr
    if family == socket.AF_INET6:
        return sockaddr
    text = plain_text(sockaddr)
    if ":" in text:
        reason = f"{endpoint_text(text, sockaddr[1])} is an IPv6 address, and the socket has only IPv4"
        raise errors.from_errno(errno.EAFNOSUPPORT, reason)
    return (text, sockaddr[1])


# -- interfaces --------------------------------------------------------------------------------------------------------


def broadcast_interfaces() -> list[int]:
    """The interfaces that are up and have broadcasts and an IPv4 address, in the kernel's order."""
    with_v4 = {address.interface_index for address in rtnetlink.read_addresses() if address.family == socket.AF_INET}
    wanted = rtnetlink.IFF_UP | _IFF_BROADCAST
    return [
        link.interface_index
        for link in rtnetlink.read_links()
        if link.flags & wanted == wanted and link.interface_index in with_v4
    ]


def send_broadcast(plain_socket: socket.socket, data: Any, sockaddr: tuple[Any, ...], interfaces: list[int]) -> int:
    """Send one copy through each interface; the number of bytes. The first failure counts when no copy went out."""
    failure: OSError | None = None
    sent = -1
    for index in interfaces:
        control = (socket.IPPROTO_IP, _IP_PKTINFO, _PACKET_INFO.pack(index))
        try:
            sent = plain_socket.sendmsg([data], [control], socket.MSG_DONTWAIT, sockaddr)
        except OSError as error:
            failure = failure or error
    if sent < 0:
        if failure is None:
            return plain_socket.sendmsg([data], [], socket.MSG_DONTWAIT, sockaddr)
        raise failure
    return sent
