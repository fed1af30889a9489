"""What the kernel holds for a socket, and what it dropped."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from tests.engine.ports import udp_socket

from moorings.engine import inspection
from moorings.engine.inspection import SocketMemory, memory_of

if TYPE_CHECKING:
    import pytest


def test_memory_and_drops() -> None:
    with udp_socket() as ours, udp_socket() as sender:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = memory_of(ours.fileno())
        assert (before.received, before.drops) == (0, 0)
        assert before.receive_limit == ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert before.send_limit == ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        for _ in range(50):
            sender.sendto(b"x" * 500, ours.getsockname())
        after = memory_of(ours.fileno())
        kept = 0
        while after.received and kept < 50:
            try:
                ours.recv(500)
            except BlockingIOError:
                break
            kept += 1
        assert 0 < kept < 50
        assert after.drops == 50 - kept
        assert memory_of(ours.fileno()).received == 0


def test_what_the_kernel_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_of(-1) == SocketMemory()
    reading, writing = os.pipe()
    assert memory_of(reading) == SocketMemory()  # no socket, as a kernel without the option
    os.close(reading)
    os.close(writing)
    monkeypatch.setattr(inspection, "socket_option", lambda *_: struct.pack("=8I", *range(8)))
    assert memory_of(0) == SocketMemory()
