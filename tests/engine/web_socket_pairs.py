"""WebSockets of the engine over connected pairs, without an opening handshake, and a raw peer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.engine.layer_pairs import layered_pair, socket_over, stream_below
from tests.engine.pairs import PATIENCE, connected_sockets, socket_and_peer, socket_pair
from tests.engine.tls_pairs import tls_pair

from moorings.engine.hub import current_hub
from moorings.engine.web_socket import WebSocketLink
from moorings.engine.web_socket_stream import WebSocketStream
from moorings.protocols.web_socket_frames import FrameReceiver
from moorings.protocols.web_socket_sending import FrameSender

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from moorings import StreamSocket

TRANSPORTS = ["TCP", "TLS 1.2", "TLS 1.3", "TLS over TLS"]

RECEIVE = 1
NEXT = 2


def stream_of(connected: StreamSocket) -> Any:
    stream = connected._connection.stream
    assert stream is not None
    return stream


class Told:
    """What a link tells its owner."""

    def __init__(self, link: WebSocketLink) -> None:
        self.closed: list[tuple[int, str]] = []
        self.failed: list[OSError] = []
        self.messages: list[Any] = []
        self.changed = asyncio.Event()
        link.closed_handler = self._on_closed
        link.failed_handler = self._on_failed

    def _on_closed(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))
        self.changed.set()

    def _on_failed(self, error: OSError) -> None:
        self.failed.append(error)
        self.changed.set()

    def on_message(self, message: Any) -> None:
        self.messages.append(message)
        self.changed.set()

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def link_of(connected: StreamSocket, *, client: bool, **settings: Any) -> WebSocketLink:
    """A WebSocket that is not started yet."""
    link = WebSocketLink(stream_of(connected), client, **settings)
    link.close_wait = PATIENCE
    return link


@asynccontextmanager
async def transport_pair(transport: str) -> AsyncIterator[tuple[StreamSocket, StreamSocket]]:
    if transport == "TCP":
        opened: Any = socket_pair()
    elif transport == "TLS over TLS":
        opened = layered_pair("TLS 1.3", "TLS 1.3")
    else:
        opened = tls_pair(transport)
    async with opened as (ours, theirs):
        yield ours, theirs


@asynccontextmanager
async def link_pair(transport: str = "TCP", **settings: Any) -> AsyncIterator[tuple[WebSocketLink, WebSocketLink]]:
    """A client and a server, started."""
    async with transport_pair(transport) as (ours, theirs):
        client, server = link_of(ours, client=True, **settings), link_of(theirs, client=False, **settings)
        client.start()
        server.start()
        yield client, server


class RawPeer(FrameReceiver):
    """The other end as a plain socket: what it gets is written down, and it does what it is told."""

    def __init__(self, plain: socket.socket, *, client: bool) -> None:
        super().__init__(client)
        self.plain = plain
        self.frames = FrameSender(client)
        self.got: list[Any] = []

    def on_message(self, kind: int, payload: Any) -> None:
        self.got.append(payload)

    def on_ping(self, payload: bytes) -> None:
        self.got.append(("ping", payload))

    def on_pong(self, payload: bytes) -> None:
        self.got.append(("pong", payload))

    def on_close(self, code: int, reason: str) -> None:
        self.got.append(("close", code, reason))

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.plain, data)

    async def next(self) -> Any:
        """What comes next: a message, a control frame, or "FIN" or "RST"."""
        async with asyncio.timeout(PATIENCE):
            while not self.got:
                try:
                    data = await asyncio.get_running_loop().sock_recv(self.plain, 65536)
                except ConnectionResetError:
                    return "RST"
                if not data:
                    return "FIN"
                self.receive_bytes(data)
        return self.got.pop(0)


@asynccontextmanager
async def link_and_peer(
    *, client: bool, start: bool = True, **settings: Any
) -> AsyncIterator[tuple[WebSocketLink, RawPeer]]:
    """One WebSocket of ours, which is the client or the server, and a raw peer."""
    async with socket_and_peer() as (ours, plain):
        link = link_of(ours, client=client, **settings)
        if start:
            link.start()
        yield link, RawPeer(plain, client=not client)


async def web_socket_streams(
    below: str, *, send_buffer: int = 0, receive_buffer: int = 0
) -> tuple[WebSocketStream, WebSocketStream]:
    """A client and a server, started without an opening handshake."""
    ours, theirs = connected_sockets(send_buffer=send_buffer, receive_buffer=receive_buffer)
    lower = await asyncio.gather(stream_below(ours, below, client=True), stream_below(theirs, below, client=False))
    client, server = (
        WebSocketStream(current_hub(), stream, "the WebSocket", is_client)
        for stream, is_client in zip(lower, (True, False), strict=True)
    )
    client.start()
    server.start()
    return client, server


async def web_socket_sockets(below: str, **buffers: int) -> tuple[StreamSocket, StreamSocket]:
    """The same as StreamSockets."""
    client, server = await web_socket_streams(below, **buffers)
    return socket_over(client, ("127.0.0.1", 1)), socket_over(server, ("127.0.0.1", 2))
