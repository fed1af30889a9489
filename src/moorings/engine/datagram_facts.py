"""What the kernel can do for a UDP socket."""

from __future__ import annotations

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
