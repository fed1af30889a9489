"""Plain UDP sockets, and waiting for what arrives."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE

from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import DatagramSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADDRESSES = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def may_bind_to_devices() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        except OSError:
            return False
    return True


needs_adapters = pytest.mark.skipif(not may_bind_to_devices(), reason="SO_BINDTODEVICE is not permitted")


@contextmanager
def plain_peer(family: int = socket.AF_INET) -> Iterator[socket.socket]:
    """A plain UDP socket that is bound."""
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((ADDRESSES[family], 0))
        peer.settimeout(PATIENCE)
        yield peer


def unused_port() -> int:
    """A port that was free a moment ago, and that the kernel does not give to the next one at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port: int = peer.getsockname()[1]
    return port


def port_of(ours: DatagramSocket) -> int:
    return int(ours.information.local_port)


class Received:
    """A handler that keeps what it gets, and can be waited for."""

    def __init__(self, keep: Callable[[Any], Any] = lambda args: bytes(args.data)) -> None:
        self.keep = keep
        self.items: list[Any] = []
        self._arrived = asyncio.Event()

    def __call__(self, _socket: DatagramSocket, args: Any) -> None:
        self.items.append(self.keep(args))
        self._arrived.set()

    async def wait(self, count: int = 1) -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            while len(self.items) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.items


async def bound(handler: Any = None, host: str | None = "127.0.0.1") -> DatagramSocket:
    """One of ours, bound, with a handler."""
    ours = DatagramSocket()
    if handler is not None:
        ours.add_message_received(handler)
    await ours.bind_endpoint_async(None if host is None else HostName(host), "")
    return ours
