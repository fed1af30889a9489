"""Taking connections over from plain sockets, descriptors and asyncio, and giving them away again."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import (
    FIN,
    PATIENCE,
    connected_sockets,
    ending,
    receive,
    receive_ending,
    socket_and_peer,
    turns,
    until,
)
from tests.sockets.peers import code, option

import moorings
from moorings import EndReason, errors
from winrt.windows.networking.sockets import SocketQualityOfService, StreamSocket
from winrt.windows.storage.streams import Buffer, InputStreamOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def streams_and_peer() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]]:
    """Asyncio streams over one end of a connection, with a plain socket at the other."""
    ours, peer = connected_sockets()
    reader, writer = await asyncio.open_connection(sock=ours)
    with peer:
        yield reader, writer, peer
        writer.transport.abort()
        await turns(3)


# -- plain sockets and descriptors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["socket", "descriptor", "adopt"])
async def test_take_over(kind: str) -> None:
    plain, peer = connected_sockets()
    descriptor = plain.fileno()
    with peer:
        if kind == "socket":
            ours = StreamSocket.from_socket(plain)
        elif kind == "descriptor":
            ours = StreamSocket.from_socket(plain.detach())
        else:
            ours = await moorings.adopt(plain)
        assert plain.fileno() == -1
        assert ours._connection.stream.fd == descriptor
        assert not os.get_blocking(descriptor)
        await ours.write(b"hello")
        assert await receive(peer, 5) == b"hello"
        peer.send(b"world")
        assert await ours.read_exactly(5) == b"world"
        await ours.aclose()
        assert await ending(peer) == FIN


async def test_unread_bytes_are_read_first() -> None:
    plain, peer = connected_sockets()
    with peer:
        ours = StreamSocket.from_socket(plain, unread=bytearray(b"one "))
        peer.send(b"two")
        assert bytes(await ours.input_stream.read_async(Buffer(2), 2, InputStreamOptions.NONE)) == b"on"
        assert await ours.read_exactly(5) == b"e two"
        ours.abort()


async def test_options_stay_and_are_shown() -> None:
    plain, peer = connected_sockets()
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    plain.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 6)
    with peer:
        ours = StreamSocket.from_socket(plain)
        control = ours.control
        assert control.no_delay is False
        assert control.keep_alive is True
        assert control.outbound_unicast_hop_limit == 33
        assert control.quality_of_service == SocketQualityOfService.LOW_LATENCY
        assert option(ours, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        ours.abort()


async def test_a_socket_that_was_closed_by_its_peer_can_still_be_read() -> None:
    plain, peer = connected_sockets()
    peer.send(b"last words")
    peer.close()
    ours = StreamSocket.from_socket(plain)
    assert await ours.read_exactly(10) == b"last words"
    assert await ours.read() == b""
    await ours.aclose()


def test_tls_sockets_are_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain, peer = connected_sockets()
    wrapped = context.wrap_socket(plain, do_handshake_on_connect=False)
    with peer, wrapped:
        with pytest.raises(OSError, match="TLS") as caught:
            StreamSocket.from_socket(wrapped)
        assert caught.value.winerror == errors.E_INVALIDARG
        assert wrapped.fileno() >= 0


async def test_failure_of_the_engine_leaves_everything_with_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise errors.from_errno(28, "no watches left")

    plain, peer = connected_sockets()
    with plain, peer:
        monkeypatch.setattr("moorings.sockets.stream_socket.TcpStream", refuse)
        with pytest.raises(OSError, match="no watches left"):
            StreamSocket.from_socket(plain)
        assert plain.getblocking()
        plain.send(b"still mine")
        assert await receive(peer, 10) == b"still mine"


# -- giving away -----------------------------------------------------------------------------------------------------


async def test_detach_and_take_over_again() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"read unread")
        assert await ours.read_exactly(5) == b"read "
        ours.write(b"queued")
        detached = ours.detach()
        assert (detached.unread, detached.unsent) == (b"unread", b"")
        assert not os.get_blocking(detached.fd)
        assert ours.end_reason == EndReason.DETACHED
        assert await receive(peer, 6) == b"queued"
        again = StreamSocket.from_socket(detached.fd, unread=detached.unread)
        assert await again.read_exactly(6) == b"unread"
        await again.aclose()
        assert await ending(peer) == FIN


async def test_detach_with_io_pending_is_refused_and_harmless() -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        reading = asyncio.create_task(ours.read_exactly(3))
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="pending") as caught:
            ours.detach()
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        peer.send(b"abc")
        assert await reading == b"abc"
        writing = ours.write(bytes(1 << 20))
        with pytest.raises(OSError, match="pending"):
            ours.detach()
        assert len(await receive(peer, 1 << 20)) == 1 << 20
        assert await writing == 1 << 20
        socket.close(ours.detach().fd)


# -- asyncio streams -------------------------------------------------------------------------------------------------


async def test_stream_writer_with_buffered_bytes() -> None:
    async with streams_and_peer() as (reader, writer, peer):
        peer.send(b"line one\nline two\n")
        assert await reader.readline() == b"line one\n"
        writer.write(b"by asyncio ")
        await writer.drain()
        ours = await moorings.adopt(writer)
        assert await ours.read_until() == b"line two\n"
        await ours.write(b"by us")
        peer.send(b"line three\n")
        assert await ours.read_until() == b"line three\n"
        # The old objects are at their end, and closing them does not reach the connection.
        assert await reader.read() == b""
        assert writer.is_closing()
        writer.close()
        await turns(5)
        await ours.aclose()
        assert await receive_ending(peer) == (b"by asyncio by us", FIN)


async def test_stream_writer_of_a_server() -> None:
    adopted: asyncio.Future[StreamSocket] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(5) == b"hello"
        adopted.set_result(await moorings.adopt(writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with await moorings.connect(f"tcp://127.0.0.1:{port}") as client:
        await client.write(b"hello world")
        async with asyncio.timeout(PATIENCE):
            ours = await adopted
        assert await ours.read_exactly(6) == b" world"
        await ours.write(b"!")
        assert await client.read_exactly(1) == b"!"
        await ours.aclose()
        assert await client.read() == b""
    server.close()
    await server.wait_closed()


async def test_stream_writer_whose_peer_has_ended() -> None:
    async with streams_and_peer() as (reader, writer, peer):
        peer.send(b"last")
        peer.shutdown(socket.SHUT_WR)
        await until(reader._buffer.__len__)  # type: ignore[attr-defined]
        ours = await moorings.adopt(writer)
        assert await ours.read_exactly(4) == b"last"
        assert await ours.read() == b""
        await ours.write(b"answer")
        await ours.aclose()
        assert await receive_ending(peer) == (b"answer", FIN)


async def test_stream_writer_with_unsent_bytes_is_refused_and_goes_on() -> None:
    async with streams_and_peer() as (reader, writer, peer):
        size = 16 << 20
        writer.write(bytes(size))
        with pytest.raises(OSError, match="drain") as caught:
            await moorings.adopt(writer)
        assert code(caught.value) == "E_INVALIDARG"
        assert len(await receive(peer, size)) == size
        peer.send(b"still")
        assert await reader.readexactly(5) == b"still"


async def test_stream_writer_with_a_pending_read_is_refused_and_goes_on() -> None:
    async with streams_and_peer() as (reader, writer, peer):
        reading = asyncio.create_task(reader.readexactly(5))
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="pending") as caught:
            await moorings.adopt(writer)
        assert code(caught.value) == "E_ILLEGAL_METHOD_CALL"
        peer.send(b"still")
        assert await reading == b"still"


async def test_stream_writer_of_another_kind_is_refused_and_goes_on() -> None:
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    with peer:
        with pytest.raises(OSError, match="no TCP socket") as caught:
            await moorings.adopt(writer)
        assert code(caught.value) == "E_INVALIDARG"
        peer.send(b"still")
        assert await reader.readexactly(5) == b"still"
        writer.close()
        await writer.wait_closed()


async def test_closed_stream_writer_is_refused() -> None:
    async with streams_and_peer() as (_, writer, _peer):
        writer.close()
        with pytest.raises(OSError, match="closed") as caught:
            await moorings.adopt(writer)
        assert code(caught.value) == "E_INVALIDARG"
        await writer.wait_closed()
        with pytest.raises(OSError, match="closed"):
            await moorings.adopt(writer)


@pytest.mark.parametrize("wrong", [None, "tcp://127.0.0.1:1", 1.5])
async def test_adopt_something_else(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"socket\.socket"):
        await moorings.adopt(wrong)
