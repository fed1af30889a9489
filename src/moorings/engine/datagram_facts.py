"""What the kernel can do for a UDP socket, and what the network's errors mean."""

from __future__ import annotations

import errno
from typing import Any

# linux/udp.h
_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104


def knows_segments(plain_socket: Any) -> bool:
    """Whether the kernel cuts what is sent into datagrams; one that does not ignores the request."""
    try:
        plain_socket.getsockopt(_SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return True


def coalesces(plain_socket: Any) -> bool:
    """Let the kernel give datagrams of one sender together, if it can."""
    try:
        plain_socket.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    except OSError:
        return False
    return True


#: What the network's errors mean, for people.
MEANINGS = {
    errno.ECONNREFUSED: "nothing listens on that port (ICMP port unreachable)",
    errno.EHOSTUNREACH: "the host cannot be reached",
    errno.ENETUNREACH: "there is no route to that network",
    errno.EMSGSIZE: "it is too big for the path and may not be fragmented",
    errno.EACCES: "a firewall on the way forbids it",
    errno.EPROTO: "the receiver found an error in it",
}
