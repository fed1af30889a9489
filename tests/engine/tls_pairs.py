"""Certificates, contexts, and connected TLS pairs on loopback."""

from __future__ import annotations

import asyncio
import functools
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trustme
from tests.engine.pairs import connected_sockets

from moorings.engine.hub import current_hub
from moorings.engine.tls_codec import RecordingSslObject, TlsSession, remember_requested_name
from moorings.engine.tls_handshake import shake_hands
from moorings.engine.tls_moving import keep_keys, movable
from moorings.engine.tls_stream import TlsStream
from moorings.foundation.home import current_home
from moorings.sockets.connection import Connection, Settings
from moorings.sockets.stream_socket import accepted_socket
from moorings.sockets.tls_settings import facts_of

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from moorings import StreamSocket

VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
NAME = "localhost"


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA()


@functools.cache
def server_certificate() -> trustme.LeafCert:
    return authority().issue_cert(NAME, "127.0.0.1")


def server_context(version: str = "TLS 1.3") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = VERSIONS[version]
    context.sslobject_class = RecordingSslObject
    context.sni_callback = remember_requested_name
    server_certificate().configure_cert(context)
    return context


def client_context(version: str = "TLS 1.3") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = VERSIONS[version]
    authority().configure_trust(context)
    return context


def client_session(version: str = "TLS 1.3") -> TlsSession:
    return TlsSession(client_context(version), server_name=NAME)


def server_session(version: str = "TLS 1.3") -> TlsSession:
    return TlsSession(server_context(version), server_side=True)


def movable_session(version: str, *, client: bool, ciphers: str = "") -> Any:
    """A session whose connection may move."""
    context = client_context(version) if client else server_context(version)
    if ciphers:
        context.set_ciphers(ciphers)
    keep_keys(context)
    session = TlsSession(context, server_side=not client, server_name=NAME if client else None)
    return movable(session, context, server_side=not client)


def shaken(version: str) -> tuple[TlsSession, TlsSession]:
    """A client's and a server's session that have shaken hands."""
    client, server = client_session(version), server_session(version)
    for _ in range(10):
        done = client.step()
        server.feed(client.take_ciphertext())
        if server.step() and done:
            return client, server
        client.feed(server.take_ciphertext())
    raise AssertionError("the handshake takes too long")


async def secured(plain: socket.socket, session: Any, *, client: bool) -> StreamSocket:
    """A StreamSocket over a connected socket, after the handshake."""
    plain.setblocking(False)
    await shake_hands(plain, session, "the pair")
    connection = Connection(Settings())
    connection.home = current_home()
    remote = plain.getpeername()
    tickets = client and session.version() == "TLSv1.3"
    stream = TlsStream(current_hub(), plain, connection, session, expects_tickets=tickets)
    connection.tls = facts_of(session)
    connection.opened(stream, remote)
    return accepted_socket(connection, None)


async def tls_sockets(
    version: str, *, send_buffer: int = 0, receive_buffer: int = 0
) -> tuple[StreamSocket, StreamSocket]:
    """A client and a server, connected."""
    ours, theirs = connected_sockets(send_buffer=send_buffer, receive_buffer=receive_buffer)
    client, server = await asyncio.gather(
        secured(ours, client_session(version), client=True), secured(theirs, server_session(version), client=False)
    )
    return client, server


@asynccontextmanager
async def tls_pair(version: str) -> AsyncIterator[tuple[StreamSocket, StreamSocket]]:
    client, server = await tls_sockets(version)
    try:
        yield client, server
    finally:
        client.abort()
        server.abort()


class Wire:
    """The other end of one of our TLS streams, seen record by record: a session and a plain socket."""

    def __init__(self, plain: socket.socket, session: TlsSession) -> None:
        self.plain = plain
        self.session = session

    async def send_raw(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.plain, data)

    def records(self, data: bytes) -> bytes:
        """`data` as ciphertext."""
        sent = 0
        while sent < len(data):
            sent += self.session.write(data[sent:])
        return self.session.take_ciphertext()

    async def receive(self) -> bytes:
        """Some plaintext, b"" after close_notify; EOFError where the connection ends without it."""
        memory = memoryview(bytearray(65536))
        while True:
            count = self.session.read_into(memory, len(memory)) if self.session.has_buffered() else -1
            if count >= 0:
                return bytes(memory[:count])
            data = await asyncio.get_running_loop().sock_recv(self.plain, 65536)
            if not data:
                raise EOFError
            self.session.feed(data)


@asynccontextmanager
async def stream_and_wire(
    version: str, *, client: bool = True, transferable: bool = False
) -> AsyncIterator[tuple[StreamSocket, Wire]]:
    """One of our sockets, as a client or a server, and the raw other end."""
    ours, theirs = connected_sockets()
    mine: Any = None
    if transferable:
        mine = movable_session(version, client=client)
    sessions = client_session(version), server_session(version)
    mine, other = (mine or sessions[0], sessions[1]) if client else (mine or sessions[1], sessions[0])
    theirs.setblocking(False)
    stream, _ = await asyncio.gather(secured(ours, mine, client=client), shake_hands(theirs, other, "the wire"))
    try:
        yield stream, Wire(theirs, other)
    finally:
        stream.abort()
        theirs.close()
