"""How big a datagram may be: on its way, and in its header.

Sources: ip(7) (IP_MTU, IP_MTU_DISCOVER), ipv6(7), RFC 791, RFC 8200, RFC 1191, RFC 8201.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from moorings import errors

# What the socket module does not name.
_IP_MTU_DISCOVER = 10
_IP_MTU = 14
_IPV6_MTU_DISCOVER = 23
_IPV6_MTU = 24
# IP_PMTUDISC_DO and IP_PMTUDISC_PROBE: nothing is sent in fragments.
_UNFRAGMENTED = (2, 3)
_DEVICE_NAME_SIZE = 16
_MAPPED_PREFIX = "::ffff:"


class _Version(NamedTuple):
    level: int
    mtu: int
    discover: int
    #: Bytes of the IP and the UDP header.
    headers: int
    #: Bytes of the longest payload: the length fields have 16 bits, and that of IPv6 leaves its own header out.
    most: int
    #: Every link takes packets of this size; who reports a smaller MTU is wrong, or lies.
    smallest_mtu: int


_V4 = _Version(int(socket.IPPROTO_IP), _IP_MTU, _IP_MTU_DISCOVER, 28, 65507, 68)
_V6 = _Version(int(socket.IPPROTO_IPV6), _IPV6_MTU, _IPV6_MTU_DISCOVER, 48, 65527, 1280)


def path_mtu(plain_socket: Any) -> int | None:
    """The MTU of the way to the peer of a connected socket, as the kernel knows it now; None where it does not."""
    try:
        version = _version(plain_socket.getpeername())
        mtu: int | None = None if version is None else plain_socket.getsockopt(version.level, version.mtu)
    except OSError:
        return None
    return mtu


def largest_payload(plain_socket: Any, name: Any) -> int | None:
    """Bytes of the largest datagram that can be sent to `name` (None: the connected peer) now; None when unknown."""
    try:
        version = _version(plain_socket.getpeername() if name is None else name)
        if version is None:
            return None
        unfragmented = plain_socket.getsockopt(version.level, version.discover) in _UNFRAGMENTED
        if not unfragmented:
            return version.most
        mtu = path_mtu(plain_socket) if name is None else _mtu_to(plain_socket, name)
    except OSError:
        return None
    return None if mtu is None else min(version.most, max(mtu, version.smallest_mtu) - version.headers)


def too_big(label: object, plain_socket: Any, size: int, name: Any) -> errors.TooBigError:
    """The error of a send that the kernel refused because of its size."""
    most = largest_payload(plain_socket, name)
    if most is None:
        cause = f"{size} bytes are too many for a datagram"
    elif most in {_V4.most, _V6.most}:
        cause = f"{size} bytes are too many for a datagram, which holds at most {most}"
    else:
        cause = (
            f"a datagram of {size} bytes is too big for the way, and may not be fragmented: at most {most} bytes fit "
            "(control.dont_fragment)"
        )
    return errors.message_too_long(f"{label}: sending failed: {cause}; send smaller ones", most)


def too_big_on_the_way(reason: str, mtu: int, v6: bool) -> errors.TooBigError:
    """The error of a datagram that a router reported as too big; `mtu` as it said, 0 for nothing."""
    if not mtu:
        return errors.message_too_long(f"{reason}; send smaller ones", None)
    version = _V6 if v6 else _V4
    most = min(version.most, max(mtu, version.smallest_mtu) - version.headers)
    return errors.message_too_long(f"{reason} (path MTU {mtu}): at most {most} bytes fit; send smaller ones", most)


def _version(name: Any) -> _Version | None:
    """Which IP carries what is sent to an address; None for one of another family."""
    if not isinstance(name, tuple):
        return None
    text = str(name[0])  # pyright: ignore[reportUnknownArgumentType]
    return _V4 if "." in text and (":" not in text or text.startswith(_MAPPED_PREFIX)) else _V6


def _mtu_to(plain_socket: Any, name: Any) -> int | None:
    """Ask by way of a second socket, which connects as the first one would send. Connecting sends nothing."""
    family = plain_socket.family
    if family == socket.AF_INET6 and len(name) == 2:
        name = (_MAPPED_PREFIX + name[0], name[1], 0, 0)
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        device = plain_socket.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _DEVICE_NAME_SIZE)
        if device.strip(b"\0"):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        local = plain_socket.getsockname()
        probe.bind((local[0], 0, *local[2:]))
        probe.connect(name)
        return path_mtu(probe)
