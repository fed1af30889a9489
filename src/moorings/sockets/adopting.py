"""Taking over a connected TCP socket that somebody else made."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

from moorings import errors

if TYPE_CHECKING:
    from collections.abc import Callable

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
# Multipath TCP (IPPROTO_MPTCP in linux/in.h) has no name in the socket module yet.
_TCP_PROTOCOLS = (0, socket.IPPROTO_TCP, 262)
_TCP_ULP = 31


def check_adoptable(plain_socket: Any, member: str) -> int:
    """The descriptor of a connected TCP socket.

    Errors: TypeError for anything but a `socket.socket` or an int; E_INVALIDARG for one that is closed, no TCP socket,
    not connected, or a TLS socket, whose state cannot be taken over.
    """
    if isinstance(plain_socket, ssl.SSLSocket):
        raise errors.invalid_argument(f"{member}: the state of a TLS socket cannot be taken over")
    if isinstance(plain_socket, socket.socket):
        descriptor = plain_socket.fileno()
    elif isinstance(plain_socket, int) and not isinstance(plain_socket, bool):
        descriptor = plain_socket
    else:
        raise TypeError(f"{member} takes a socket.socket or a descriptor, not {type(plain_socket).__name__}")
    if descriptor < 0:
        raise errors.invalid_argument(f"{member}: the socket is closed")
    try:
        probe = socket.socket(fileno=descriptor)
    except OSError as error:
        raise errors.invalid_argument(f"{member}: descriptor {descriptor} is no socket ({error.strerror})") from error
    try:
        if probe.family not in _FAMILIES or probe.type != socket.SOCK_STREAM or probe.proto not in _TCP_PROTOCOLS:
            raise errors.invalid_argument(f"{member}: descriptor {descriptor} is no TCP socket")
        try:
            probe.getpeername()
        except OSError as error:
            raise errors.invalid_argument(f"{member}: descriptor {descriptor} is not connected") from error
    finally:
        probe.detach()
    return descriptor


def has_upper_layer(plain_socket: socket.socket) -> bool:
    """Whether something sits on TCP in the kernel, such as TLS (TCP_ULP of linux/tcp.h)."""
    try:
        return bool(plain_socket.getsockopt(socket.IPPROTO_TCP, _TCP_ULP, 16).rstrip(b"\0"))
    except OSError:
        return False  # a kernel, or a sandbox, that does not know the question


def take_over(plain_socket: socket.socket | int, descriptor: int, use: Callable[[socket.socket], object]) -> None:
    """Hand the descriptor to `use`, non-blocking and in a socket object of its own; on failure the caller owns it."""
    was_blocking = os.get_blocking(descriptor)
    taken = socket.socket(fileno=descriptor)
    try:
        taken.setblocking(False)
        use(taken)
    except BaseException:
        taken.detach()
        os.set_blocking(descriptor, was_blocking)
        raise
    if isinstance(plain_socket, socket.socket):
        plain_socket.detach()
