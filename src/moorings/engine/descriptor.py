"""System calls on a descriptor that are not on the hot path."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import termios
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from moorings._native_switch import native_mode

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

if TYPE_CHECKING or not native_mode()[0]:
    from moorings._pure import accept_by_socket, accept_connection, socket_name, socket_option
else:
    # It has no Python source, by which the linter of imports would know it as a module.
    _leaves = import_module("moorings._native")
    accept_by_socket = _leaves.accept_by_socket
    accept_connection = _leaves.accept_connection
    socket_name = _leaves.socket_name
    socket_option = _leaves.socket_option

__all__ = [
    "accept_by_socket",
    "accept_connection",
    "borrowed",
    "explain",
    "local_address",
    "reset_when_closed",
    "socket_option",
    "unacknowledged_bytes",
    "unread_bytes",
]

# Linux asm-generic/sockios.h: SIOCOUTQ is TIOCOUTQ, SIOCINQ is FIONREAD.
_SIOCOUTQ = termios.TIOCOUTQ
_SIOCINQ = termios.FIONREAD

_EXPLANATIONS = {
    errno.ECONNRESET: "the peer reset the connection; it crashed, or ended without reading everything",
    errno.EPIPE: "the connection is gone, nothing more can be sent",
    errno.ETIMEDOUT: "the peer no longer answers; is its host still up and reachable?",
    errno.ENETDOWN: "the network interface went down",
    errno.ENETUNREACH: "there is no route to the peer any more; did the network change?",
    errno.EHOSTUNREACH: "the peer's host cannot be reached any more; did the network change?",
}


def explain(code: int) -> str:
    """Why a connection that stood is broken, for people."""
    return _EXPLANATIONS.get(code, os.strerror(code))


def _count(fd: int, request: int) -> int | None:
    if fd < 0:
        return None
    try:
        answer = fcntl.ioctl(fd, request, b"\0\0\0\0")
    except OSError:
        return None
    return int(struct.unpack("i", answer)[0])


def unread_bytes(fd: int) -> int:
    """Bytes that arrived and were not read (tcp(7), SIOCINQ); 0 when the kernel does not say."""
    return _count(fd, _SIOCINQ) or 0


def unacknowledged_bytes(fd: int) -> int:
    """Bytes written that the peer's kernel has not acknowledged (tcp(7), SIOCOUTQ); 0 when the kernel does not say."""
    return _count(fd, _SIOCOUTQ) or 0


def queue_lengths(fd: int) -> tuple[int | None, int | None]:
    """Both of these, unread first; None when the kernel does not say."""
    return _count(fd, _SIOCINQ), _count(fd, _SIOCOUTQ)


@contextmanager
def borrowed(fd: int) -> Generator[socket.socket]:
    """A socket object for a descriptor that somebody else owns; it is not closed."""
    borrowed_socket = socket.socket(fileno=fd)
    try:
        yield borrowed_socket
    finally:
        borrowed_socket.detach()


def local_address(fd: int) -> Any:
    """The local address of a socket, None when the kernel does not say."""
    try:
        return socket_name(fd)
    except OSError:
        return None


def reset_when_closed(fd: int) -> None:
    """Make the coming close() send RST (socket(7), SO_LINGER with a zero time-out)."""
    if fd < 0:
        return
    try:
        with borrowed(fd) as borrowed_socket:
            borrowed_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        # The descriptor is not a socket any more, or the kernel already dropped the connection: close() is enough.
        return
