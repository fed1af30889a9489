"""Asking the kernel for TLS; what it has not, and what this machine's has."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from typing import Any

import pytest
from tests.cli.checks.machines import refusing
from tests.engine.pairs import connected_sockets

from moorings.engine import kernel_tls
from moorings.engine.kernel_tls import USUAL_SUITE, KernelTls, find_obstacle, kernel_tls_of
from moorings.engine.tls_keys import CHACHA20_POLY1305, Suite

CHACHA = Suite(CHACHA20_POLY1305, 32, "sha256", "TLSv1.2")


@pytest.mark.parametrize(
    ("number", "found", "cure"),
    [
        (errno.ENOENT, "not loaded", "modprobe tls"),
        (errno.ENOPROTOOPT, "Protocol not available", "CONFIG_TLS"),
        (errno.EPERM, "not permitted", "CONFIG_TLS"),
    ],
)
def test_a_kernel_without_tls(number: int, found: str, cure: str) -> None:
    obstacle = find_obstacle(USUAL_SUITE, refusing(setsockopt=number))
    assert obstacle is not None
    assert found in obstacle.found
    assert cure in obstacle.cure


def test_no_loopback() -> None:
    obstacle = find_obstacle(USUAL_SUITE, refusing(connect=errno.ENETUNREACH))
    assert obstacle is not None
    assert "unreachable" in obstacle.found
    assert obstacle.cure == "ip link set lo up"


class Knowing(socket.socket):
    """A kernel that has TLS, but no ChaCha20."""

    def setsockopt(self, *arguments: Any) -> None:
        level, _, value = arguments
        if level == kernel_tls.SOL_TLS and struct.unpack_from("=HH", value)[1] == CHACHA20_POLY1305:
            raise OSError(errno.EINVAL, "Invalid argument")


def test_a_cipher_that_the_kernel_has_not() -> None:
    assert find_obstacle(USUAL_SUITE, Knowing) is None
    obstacle = find_obstacle(CHACHA, Knowing)
    assert obstacle is not None
    assert obstacle.found == "the kernel does not carry ChaCha20-Poly1305 of TLSv1.2: Invalid argument"


def test_on_this_machine() -> None:
    obstacle = find_obstacle(USUAL_SUITE)
    assert obstacle is None or (obstacle.found and obstacle.cure)


class Answering:
    """A socket that answers as the kernel would."""

    def __init__(self, layer: Any, *directions: Any) -> None:
        self.answers = [layer, *directions]

    def getsockopt(self, *_arguments: Any) -> bytes:
        answer: Any = self.answers.pop(0)
        if isinstance(answer, int):
            raise OSError(answer, "no")
        return bytes(answer)


INFO = struct.pack("=HH", 0x0304, 52)


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([b""], None),
        ([b"espintcp\0"], None),
        ([errno.ENOPROTOOPT], None),
        ([b"tls\0\0", INFO, INFO], KernelTls("TLSv1.3", "AES-256-GCM")),
        ([b"tls\0\0", INFO, errno.ENOPROTOOPT], KernelTls("TLSv1.3", "AES-256-GCM")),
        ([b"tls", struct.pack("=HH", 0x0303, 53), INFO], KernelTls("TLSv1.2", "")),
    ],
)
def test_what_sits_on_a_socket(answers: list[Any], found: KernelTls | None) -> None:
    plain: Any = Answering(*answers)
    assert kernel_tls_of(plain) == found


@pytest.mark.parametrize("answers", [[b"tls", errno.EBUSY], [b"tls", INFO, errno.EBUSY], [b"tls", errno.ENOPROTOOPT]])
def test_one_direction_only(answers: list[Any]) -> None:
    plain: Any = Answering(*answers)
    with pytest.raises(ValueError):
        kernel_tls_of(plain)


def test_plain_sockets() -> None:
    ours, peer = connected_sockets()
    with ours, peer:
        assert kernel_tls_of(ours) is None
        assert kernel_tls.has_room(ours.fileno())
        peer.send(b"data")
        assert kernel_tls.receive_record(ours.fileno()) == (23, b"data")
        peer.close()
        assert kernel_tls.receive_record(ours.fileno()) == (23, b"")


def test_no_room() -> None:
    """A send buffer that is full, and too big to be made bigger, is waited for."""
    ours, peer = connected_sockets()
    with ours, peer:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(bytes(1 << 16))
        assert not kernel_tls.has_room(ours.fileno())
        with pytest.raises(BlockingIOError):
            kernel_tls.send_alert(ours.fileno(), 1, 0)
