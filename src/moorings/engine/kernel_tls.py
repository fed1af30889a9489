"""TLS in the kernel (Documentation/networking/tls.rst of Linux): whether there is any, handing keys over, its records.

A socket with both directions in the kernel is one that any process can use: what it sends and receives is plaintext.
Only records that are no application data, such as the alert close_notify, need `recvmsg` and `sendmsg`.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from moorings.engine.descriptor import borrowed
from moorings.engine.tls_keys import (
    AES_GCM_128,
    AES_GCM_256,
    ALERT,
    APPLICATION_DATA,
    CHACHA20_POLY1305,
    VERSION_NUMBERS,
    DirectionKeys,
    Suite,
    crypto_info,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "KernelTls",
    "Obstacle",
    "attach",
    "find_obstacle",
    "has_room",
    "install",
    "kernel_tls_of",
    "receive_record",
    "send_alert",
    "try_on",
]

# linux/tcp.h, linux/socket.h, linux/tls.h, asm-generic/socket.h: Python does not have these, or only in newer versions.
TCP_ULP = 31
SOL_TLS = 282
TLS_TX, TLS_RX = 1, 2
TLS_SET_RECORD_TYPE, TLS_GET_RECORD_TYPE = 1, 2
SO_MEMINFO = 55
_SNDBUF_FIELD, _QUEUED_FIELD = 3, 5

#: Bytes of a record's plaintext that one call takes; no record has more.
_RECORD_SIZE = 16640
#: Bytes that must be free in the send buffer before close_notify: the kernel may still hold back a part of a record.
GOODBYE_ROOM = 49152
# Seconds that the probe waits for the loopback interface, where a connect ends at once.
_PATIENCE = 0.5


class Obstacle(NamedTuple):
    """Why the kernel does not carry TLS, and what would change that."""

    found: str
    cure: str


class KernelTls(NamedTuple):
    """What the kernel says of a socket with TLS in both directions."""

    version: str
    cipher: str


_CIPHER_NAMES = {AES_GCM_128: "AES-128-GCM", AES_GCM_256: "AES-256-GCM", CHACHA20_POLY1305: "ChaCha20-Poly1305"}
_VERSION_NAMES = {number: name for name, number in VERSION_NUMBERS.items()}

#: What the probe asks for where nobody names a suite.
USUAL_SUITE = Suite(AES_GCM_256, 32, "sha384", "TLSv1.3")


def try_on(connected: socket.socket, suite: Suite = USUAL_SUITE) -> Obstacle | None:
    """Give both directions of a connected socket to the kernel, with keys of zeros: what it has against that.

    The socket is of no use afterwards.
    """
    iv_size = 4 if suite.explicit_nonce else 12
    info = crypto_info(suite, DirectionKeys(bytearray(suite.key_size), bytearray(iv_size)), 0, bytes(8))
    try:
        connected.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Obstacle("the module tls is not loaded", "modprobe tls (a kernel with CONFIG_TLS)")
        return Obstacle(f"the kernel refuses: {error.strerror}", "a kernel with CONFIG_TLS")
    try:
        connected.setsockopt(SOL_TLS, TLS_TX, info)
        connected.setsockopt(SOL_TLS, TLS_RX, info)
    except OSError as error:
        name = f"{_CIPHER_NAMES[suite.kernel_number]} of {suite.version}"
        return Obstacle(f"the kernel does not carry {name}: {error.strerror}", "a newer kernel")
    return None


def find_obstacle(suite: Suite, open_socket: Callable[..., socket.socket] = socket.socket) -> Obstacle | None:
    """What keeps this machine's kernel from carrying `suite`, tried out on the loopback interface; None for nothing."""
    try:
        with (
            open_socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
            open_socket(socket.AF_INET, socket.SOCK_STREAM) as client,
        ):
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            client.settimeout(_PATIENCE)
            client.connect(listener.getsockname())
            return try_on(client, suite)
    except OSError as error:
        return Obstacle(f"it could not be tried out on the loopback interface: {error.strerror}", "ip link set lo up")


def attach(fd: int) -> str:
    """Let the kernel's TLS sit on a connection, without keys yet, which changes nothing: why it will not, or "".

    It takes over only what neither side has ended.
    """
    try:
        with borrowed(fd) as plain_socket:
            plain_socket.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return "the peer has ended its side already; kernels take over no such connection"
        if error.errno != errno.EEXIST:  # it sits there since an earlier call
            return f"the kernel refuses: {error.strerror}"
    return ""


def install(fd: int, sending: bytearray, receiving: bytearray) -> None:
    """Give both directions of an attached connection to the kernel, as `crypto_info` made them. There is no way back.

    Errors: OSError of the kernel, after which nobody can use the connection.
    """
    with borrowed(fd) as plain_socket:
        plain_socket.setsockopt(SOL_TLS, TLS_TX, sending)
        plain_socket.setsockopt(SOL_TLS, TLS_RX, receiving)


def kernel_tls_of(plain_socket: socket.socket) -> KernelTls | None:
    """What the kernel does on a socket; None for plain TCP. ValueError where only one direction is in the kernel."""
    try:
        layer = plain_socket.getsockopt(socket.IPPROTO_TCP, TCP_ULP, 16).rstrip(b"\0")
    except OSError:
        return None  # a kernel, or a sandbox, that does not know the question
    if layer != b"tls":
        return None
    found: list[bytes] = []
    for direction in (TLS_TX, TLS_RX):
        try:
            found.append(plain_socket.getsockopt(SOL_TLS, direction, 4))
        except OSError as error:
            if error.errno == errno.ENOPROTOOPT and found:
                continue  # older kernels tell of sending only
            raise ValueError from error
    version, cipher = struct.unpack("=HH", found[0])
    return KernelTls(_VERSION_NAMES.get(version, ""), _CIPHER_NAMES.get(cipher, ""))


def receive_record(fd: int) -> tuple[int, bytes]:
    """The next record, whatever its type: the type and the plaintext. (23, b"") where the stream has ended.

    Errors: OSError: EAGAIN where there is none, EBADMSG where it was changed on its way.
    """
    with borrowed(fd) as plain_socket:
        data, control, _, _ = plain_socket.recvmsg(_RECORD_SIZE, socket.CMSG_SPACE(1), socket.MSG_DONTWAIT)
    for level, kind, value in control:
        if level == SOL_TLS and kind == TLS_GET_RECORD_TYPE:
            return value[0], data
    return APPLICATION_DATA, data


def send_alert(fd: int, level: int, number: int) -> None:
    """Send an alert behind everything else. Errors: OSError, EAGAIN where the send buffer is full."""
    with borrowed(fd) as plain_socket:
        plain_socket.sendmsg(
            [bytes((level, number))],
            [(SOL_TLS, TLS_SET_RECORD_TYPE, bytes((ALERT,)))],
            socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL,
        )


def has_room(fd: int) -> bool:
    """Whether the next record, and what the kernel still holds back of the last one, fits into the send buffer.

    The kernel may have taken the end of a record without having passed it on to TCP. It does so with the next call, if
    there is room; a FIN does not wait for it.
    """
    try:
        with borrowed(fd) as plain_socket:
            size, queued = _memory(plain_socket)
            if size - queued < GOODBYE_ROOM and size < 2 * GOODBYE_ROOM:
                plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, GOODBYE_ROOM)  # (the kernel doubles it)
                size, queued = _memory(plain_socket)
    except OSError:
        return True  # a kernel, or a sandbox, that does not say
    return size - queued >= GOODBYE_ROOM


def _memory(plain_socket: socket.socket) -> tuple[int, int]:
    fields = struct.unpack("=9I", plain_socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
    return fields[_SNDBUF_FIELD], fields[_QUEUED_FIELD]
