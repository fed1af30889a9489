"""The stream over the kernel's TLS, on plain TCP: everything but records of other types, which the lab has.

A plain socket sends an alert as its two octets.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.engine.pairs import FIN, RST, connected_sockets, ending, receive, receive_ending

from moorings import EndReason, StreamSocket, errors
from moorings.engine import kernel_tls
from moorings.engine.hub import current_hub
from moorings.engine.kernel_tls_stream import KernelTlsStream
from moorings.foundation.home import current_home
from moorings.sockets.connection import Connection, Settings
from moorings.sockets.stream_socket import accepted_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

GOODBYE = b"\1\0"


@asynccontextmanager
async def stream_and_peer(*, send_buffer: int = 0) -> AsyncIterator[tuple[StreamSocket, socket.socket]]:
    ours, peer = connected_sockets(send_buffer=send_buffer)
    ours.setblocking(False)
    connection = Connection(Settings())
    connection.home = current_home()
    remote = ours.getpeername()
    connection.opened(KernelTlsStream(current_hub(), ours, connection, "TLSv1.3"), remote)
    stream = accepted_socket(connection, None)
    with peer:
        yield stream, peer
        stream.abort()


async def test_data_goes_in_both_directions() -> None:
    async with stream_and_peer() as (stream, peer):
        await stream.write(b"to the peer")
        assert await receive(peer, 11) == b"to the peer"
        peer.send(b"one two ")
        assert await stream.read_exactly(4) == b"one "
        peer.send(b"three")
        assert await stream.read_exactly(9) == b"two three"


async def test_an_end_without_close_notify_is_truncated() -> None:
    async with stream_and_peer() as (stream, peer):
        peer.send(b"half")
        peer.close()
        assert await stream.read_exactly(4) == b"half"
        with pytest.raises(OSError, match="close_notify") as caught:
            await stream.read()
        assert caught.value.winerror == errors.WSAECONNABORTED
        assert stream.end_reason == EndReason.TRUNCATED


async def test_close_notify_goes_before_fin() -> None:
    async with stream_and_peer() as (stream, peer):
        stream.write(b"all of it")
        await stream.aclose()
        assert await receive_ending(peer) == (b"all of it" + GOODBYE, FIN)


async def test_a_half_close_says_goodbye_too() -> None:
    async with stream_and_peer() as (stream, peer):
        stream.write(b"all of it")
        stream.end_writing()
        await stream.flush()
        assert await receive_ending(peer) == (b"all of it" + GOODBYE, FIN)
        peer.send(b"answer")
        assert await stream.read_exactly(6) == b"answer"
        stream.close()


@pytest.mark.parametrize("half", [True, False])
async def test_close_notify_waits_for_room(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel still holds back of a record must not be overtaken by FIN."""
    asked: list[int] = []

    def has_room(fd: int) -> bool:
        asked.append(fd)
        return len(asked) > 3

    monkeypatch.setattr(kernel_tls, "has_room", has_room)
    async with stream_and_peer() as (stream, peer):
        stream.write(b"all of it")
        if half:
            stream.end_writing()
        else:
            stream.close()
        assert await receive_ending(peer) == (b"all of it" + GOODBYE, FIN)
        assert len(asked) == 4


async def test_room_is_made_where_the_send_buffer_is_small() -> None:
    async with stream_and_peer(send_buffer=4096) as (stream, _):
        stream_fd = stream._connection.stream.fd
        assert kernel_tls.has_room(stream_fd)


async def test_unread_data_ends_with_a_reset_and_no_goodbye() -> None:
    async with stream_and_peer() as (stream, peer):
        peer.send(b"nobody reads this")
        await stream.write(b"x")
        assert await receive(peer, 1) == b"x"
        await stream.aclose()
        assert await ending(peer) == RST


async def test_giving_it_away_again() -> None:
    async with stream_and_peer() as (stream, peer):
        peer.send(b"unread")
        assert await stream.read_exactly(2) == b"un"
        given = stream.detach()
        assert (given.unread, given.unsent) == (b"read", b"")
        again = StreamSocket.from_socket(given.fd, unread=given.unread)
        assert await again.read_exactly(4) == b"read"
        await again.aclose()


async def test_giving_it_away_is_refused_after_the_end() -> None:
    async with stream_and_peer() as (stream, _):
        stream.end_writing()
        with pytest.raises(OSError, match="ended already") as caught:
            stream.detach()
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL


async def test_a_dropped_one_with_nothing_unread_ends_cleanly() -> None:
    async with stream_and_peer() as (stream, peer):
        stream._connection.stream.tear_down()
        assert await receive_ending(peer) == (GOODBYE, FIN)
