"""Connected TCP pairs on loopback, and what a peer sees at the end."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from moorings import StreamSocket
from moorings.engine.hub import current_hub
from moorings.engine.tcp_stream import TcpStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

OursAndPlain = tuple[StreamSocket, socket.socket]
OursAndOurs = tuple[StreamSocket, StreamSocket]

PATIENCE = 20.0
"""Seconds after which something that takes milliseconds counts as never happening."""

FIN = "FIN"
RST = "RST"


def connected_sockets(*, send_buffer: int = 0, receive_buffer: int = 0) -> tuple[socket.socket, socket.socket]:
    """Two ends of a loopback connection; `send_buffer` is the first end's, `receive_buffer` the second one's."""
    with socket.socket() as listener:
        if receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        ours = socket.socket()
        if send_buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    theirs.setblocking(False)
    return ours, theirs


@asynccontextmanager
async def socket_and_peer(*, send_buffer: int = 0, receive_buffer: int = 0) -> AsyncIterator[OursAndPlain]:
    """One of our sockets, with a plain socket at the other end. Both are closed at the end, ours abortively."""
    ours, theirs = connected_sockets(send_buffer=send_buffer, receive_buffer=receive_buffer)
    ours_socket = StreamSocket.from_socket(ours)
    try:
        yield ours_socket, theirs
    finally:
        ours_socket.abort()
        theirs.close()


@asynccontextmanager
async def socket_pair(*, send_buffer: int = 0, receive_buffer: int = 0) -> AsyncIterator[OursAndOurs]:
    """Two of our sockets, connected."""
    ours, theirs = connected_sockets(send_buffer=send_buffer, receive_buffer=receive_buffer)
    first, second = StreamSocket.from_socket(ours), StreamSocket.from_socket(theirs)
    try:
        yield first, second
    finally:
        first.abort()
        second.abort()


@contextmanager
def stream_and_peer(*, send_buffer: int = 0, receive_buffer: int = 0) -> Iterator[tuple[TcpStream, socket.socket]]:
    """The engine's stream alone, with a plain socket at the other end."""
    ours, theirs = connected_sockets(send_buffer=send_buffer, receive_buffer=receive_buffer)
    ours.setblocking(False)
    stream = TcpStream(current_hub(), ours, "the stream")
    try:
        yield stream, theirs
    finally:
        stream.abort()
        theirs.close()


async def receive(peer: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes at a plain socket."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        while len(data) < count:
            chunk = await asyncio.get_running_loop().sock_recv(peer, count - len(data))
            assert chunk, f"the stream ended after {len(data)} of {count} bytes"
            data += chunk
    return data


async def receive_ending(peer: socket.socket) -> tuple[bytes, str]:
    """Everything up to the end at a plain socket, and how it ended: FIN or RST."""
    data = bytearray()
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                chunk = await asyncio.get_running_loop().sock_recv(peer, 1 << 20)
            except (ConnectionResetError, BrokenPipeError):
                return bytes(data), RST
            if not chunk:
                return bytes(data), FIN
            data += chunk


async def ending(peer: socket.socket) -> str:
    """How the connection ended at a plain socket."""
    return (await receive_ending(peer))[1]


def reset(peer: socket.socket) -> None:
    """End a plain socket with RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


async def turns(count: int) -> None:
    """Let the loop turn `count` times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - conditions of the engine have no event
            await asyncio.sleep(0)


async def clog(ours_socket: StreamSocket, size: int = 16 << 20) -> int:
    """Write so much, without waiting, that our queue stays full; the number of bytes that are queued."""
    ours_socket.write(bytes(size))
    await turns(3)
    await until(lambda: ours_socket.counters.queued_bytes > 0)
    return ours_socket.counters.queued_bytes
