"""Which local address the system would use towards a destination."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from moorings.names.host_name import scope_text

if TYPE_CHECKING:
    SockAddr = tuple[Any, ...]

#: Any port does for a route look-up; discard (RFC 863) is the traditional one. No packet is sent.
_PROBE_PORT = 9


def source_address(family: int, sockaddr: SockAddr, interface_name: str | None = None) -> str | None:
    """The local address that a packet to `sockaddr` would leave from, or None where there is no way to it.

    A connected UDP socket tells it without sending anything (RFC 6724 section 2, udp(7)). With `interface_name` only
    ways through that interface count (SO_BINDTODEVICE, socket(7)); where the system does not permit that, any way
    counts. A link-local address comes with its `%scope`.
    """
    try:
        probe = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError:
        return None  # the system has no such address family, or no descriptor is left
    with probe:
        try:
            if interface_name is not None:
                _bind_to_interface(probe, interface_name)
            probe.connect((sockaddr[0], sockaddr[1] or _PROBE_PORT, *sockaddr[2:]))
            local = probe.getsockname()
        except OSError:
            return None
    text: str = local[0]
    return f"{text}%{scope_text(local[3])}" if family == socket.AF_INET6 and local[3] else text


def _bind_to_interface(probe: socket.socket, interface_name: str) -> None:
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface_name.encode() + b"\0")
    except PermissionError:
        return  # before Linux 5.7 only root may; choosing an adapter is best effort
