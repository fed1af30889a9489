"""Clients of a WebSocket listener: `websockets`, and plain sockets that say what they want."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Any

import websockets
from tests.engine.pairs import PATIENCE, receive_ending

from moorings import HostName, WebSocketListener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def echo(web_socket: Any) -> None:
    async for message in web_socket:
        await web_socket.send(message)


@contextmanager
def plain_client(port: int, *, receive_buffer: int = 0) -> Iterator[socket.socket]:
    """A plain socket, connected to the listener."""
    with closing(socket.socket()) as client:
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
        yield client


async def answer_to(port: int, request: bytes, *, end: bool = False) -> tuple[int, dict[str, str], bytes, str]:
    """What the listener answers: status, headers, body, and how the connection ended."""
    with plain_client(port) as client:
        client.sendall(request)
        if end:
            client.shutdown(socket.SHUT_WR)
        data, ending = await receive_ending(client)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split(" ")[1]) if lines[0] else 0, headers, body, ending


def asking(path: str = "/chat", *headers: str) -> bytes:
    """A request for a WebSocket."""
    lines = "".join(f"{header}\r\n" for header in headers).encode()
    return REQUEST.replace(b"/chat", path.encode()).replace(
        b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\n" + lines
    )


@asynccontextmanager
async def client_of(port: int, path: str = "/", **settings: Any) -> AsyncIterator[websockets.ClientConnection]:
    """A client made with `websockets`."""
    async with websockets.connect(f"ws://127.0.0.1:{port}{path}", compression=None, **settings) as client:
        yield client


async def refused_with(port: int, path: str = "/", **settings: Any) -> int:
    """The status with which a client made with `websockets` is refused."""
    try:
        async with client_of(port, path, **settings):
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code


async def closing_of(client: websockets.ClientConnection) -> tuple[int, str]:
    """The close frame that the client gets, behind everything else."""
    async with asyncio.timeout(PATIENCE):
        await client.wait_closed()
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


@asynccontextmanager
async def bound(set_up: Callable[[WebSocketListener], object] | None = None) -> AsyncIterator[tuple[Any, int]]:
    """A listener and its port."""
    async with asyncio.timeout(PATIENCE):
        async with WebSocketListener() as listener:
            if set_up is not None:
                set_up(listener)
            await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
            yield listener, int(listener.information.local_port)
