"""Connected pairs in which TLS runs over another stream: over TCP's, over TLS itself, over scripted ones."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.engine.pairs import connected_sockets
from tests.engine.tls_pairs import client_session, server_session

from moorings.engine.hub import current_hub
from moorings.engine.layered_tls import LayeredTlsStream
from moorings.engine.tcp_stream import TcpStream
from moorings.engine.tls_handshake import shake_hands, shake_hands_over
from moorings.engine.tls_stream import TlsStream
from moorings.foundation.home import current_home
from moorings.sockets.connection import Connection, Settings
from moorings.sockets.stream_socket import accepted_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from moorings import StreamSocket
    from moorings.engine.tls_codec import TlsSession
    from moorings.testing.scripted import ScriptedStream

STACKS = [("TCP", "TLS 1.2"), ("TCP", "TLS 1.3"), ("TLS 1.2", "TLS 1.3"), ("TLS over TLS", "TLS 1.2")]
"""What lies below the layer under test, and its own version."""


async def layer(lower: Any, session: TlsSession, *, client: bool, label: object = "the layer") -> LayeredTlsStream:
    """A layer over any stream, after the handshake."""
    await shake_hands_over(lower, session, "the layer")
    tickets = client and session.version() == "TLSv1.3"
    return LayeredTlsStream(current_hub(), lower, label, session, expects_tickets=tickets)


async def stream_below(plain: socket.socket, below: str, *, client: bool) -> Any:
    """What a layer is put over, on a connected socket."""
    plain.setblocking(False)
    if below == "TCP":
        return TcpStream(current_hub(), plain, "below")
    version = below if below.startswith("TLS 1") else "TLS 1.3"
    session = client_session(version) if client else server_session(version)
    await shake_hands(plain, session, "below")
    tickets = client and session.version() == "TLSv1.3"
    lowest = TlsStream(current_hub(), plain, "below", session, expects_tickets=tickets)
    if below != "TLS over TLS":
        return lowest
    return await layer(lowest, client_session() if client else server_session(), client=client, label="between")


def socket_over(stream: LayeredTlsStream, remote: Any) -> StreamSocket:
    """A StreamSocket whose stream is a layer."""
    connection = Connection(Settings())
    connection.home = current_home()
    stream.label = connection
    connection.opened(stream, remote)
    return accepted_socket(connection, None)


async def layered_socket(plain: socket.socket, below: str, version: str, *, client: bool) -> StreamSocket:
    remote = plain.getpeername()
    lower = await stream_below(plain, below, client=client)
    session = client_session(version) if client else server_session(version)
    return socket_over(await layer(lower, session, client=client), remote)


async def layered_sockets(
    below: str, version: str, *, send_buffer: int = 0, receive_buffer: int = 0
) -> tuple[StreamSocket, StreamSocket]:
    """A client and a server, connected."""
    ours, theirs = connected_sockets(send_buffer=send_buffer, receive_buffer=receive_buffer)
    client, server = await asyncio.gather(
        layered_socket(ours, below, version, client=True), layered_socket(theirs, below, version, client=False)
    )
    return client, server


@asynccontextmanager
async def layered_pair(below: str, version: str) -> AsyncIterator[tuple[StreamSocket, StreamSocket]]:
    client, server = await layered_sockets(below, version)
    try:
        yield client, server
    finally:
        client.abort()
        server.abort()


class Peer:
    """The other end of a layer over a scripted stream: a session, and what has been sent to it."""

    def __init__(self, lower: ScriptedStream, session: TlsSession) -> None:
        self.lower = lower
        self.session = session
        self.seen = 0

    def records(self, data: bytes) -> bytes:
        sent = 0
        while sent < len(data):
            sent += self.session.write(data[sent:])
        return self.session.take_ciphertext()

    def goodbye(self) -> bytes:
        self.session.close_notify()
        return self.session.take_ciphertext()

    def received(self) -> bytes:
        """All plaintext that was sent since the last time; close_notify looks like `END`."""
        sent = self.lower.sent
        self.session.feed(sent[self.seen :])
        self.seen = len(sent)
        memory = memoryview(bytearray(1 << 20))
        data = b""
        while (count := self.session.read_into(memory, len(memory))) > 0:
            data += memory[:count]
        return data + (b"END" if count == 0 else b"")
