"""A WebSocket as a stream of bytes: messages on the wire, back-pressure, endings, and what can be put over it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.layer_pairs import layer
from tests.engine.pairs import PATIENCE, socket_and_peer
from tests.engine.test_endings import in_child
from tests.engine.tls_pairs import client_session, server_session
from tests.engine.web_socket_pairs import RawPeer, stream_of, web_socket_sockets

from moorings import Buffer, EndReason, errors
from moorings.engine.hub import current_hub
from moorings.engine.web_socket import WebSocketLink
from moorings.engine.web_socket_flow import RECEIVE_QUEUE_BYTES_LIMIT
from moorings.engine.web_socket_stream import WebSocketStream
from moorings.protocols.web_error_status import (
    INET_E_CONNECTION_ABORTED,
    INET_E_DISCONNECTED,
    INET_E_OPERATION_CANCELLED,
    WEB_SOCKET_E_PROTOCOL,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BINARY = 2
TEXT = 1
NONE = 0


@asynccontextmanager
async def stream_and_peer(*, client: bool = False) -> AsyncIterator[tuple[WebSocketStream, RawPeer, list[Any]]]:
    """One stream of ours, a raw peer, and what `closed` told."""
    async with asyncio.timeout(PATIENCE), socket_and_peer() as (ours, plain):
        stream = WebSocketStream(current_hub(), stream_of(ours), "the stream", client)
        told: list[Any] = []
        stream.closed_handler = lambda code, reason: told.append((code, reason))
        stream.start()
        try:
            yield stream, RawPeer(plain, client=not client), told
        finally:
            stream.abort()


async def read(stream: WebSocketStream, count: int, options: int = NONE) -> bytes:
    return bytes(await stream.read(Buffer(count), count, options))


def write(stream: WebSocketStream, data: bytes) -> Any:
    return stream.write(data, len(data))


@pytest.mark.parametrize("client", [False, True])
async def test_each_write_is_one_message(client: bool) -> None:
    async with stream_and_peer(client=client) as (stream, peer, _):
        small = [write(stream, b"one"), write(stream, b""), write(stream, b"two")]
        big = [write(stream, b"x" * 20_000), write(stream, b"y" * 200_000)]
        assert [await operation for operation in small + big] == [3, 0, 3, 20_000, 200_000]
        for wanted in (b"one", b"two", b"x" * 20_000, b"y" * 200_000):
            assert await peer.next() == wanted
        assert stream.bytes_sent == 220_006
        assert stream.queued_bytes == 0


async def test_reads_span_messages_and_take_parts_of_them() -> None:
    async with stream_and_peer() as (stream, peer, _):
        frames = peer.frames
        await peer.send(frames.message(BINARY, b"abcd") + frames.message(BINARY, b"") + frames.message(BINARY, b"ef"))
        assert await read(stream, 5) == b"abcde"
        assert await read(stream, 5, options=1) == b"f"
        reading = stream.read(Buffer(3), 3, NONE)
        await peer.send(frames.fragment(BINARY, b"gh", False) + frames.ping(b"?"))
        await peer.next()
        assert not reading.done()
        await peer.send(frames.fragment(BINARY, b"i", True))
        assert bytes(await reading) == b"ghi"


async def test_a_second_pending_read_is_refused() -> None:
    async with stream_and_peer() as (stream, peer, _):
        first = stream.read(Buffer(1), 1, NONE)
        with pytest.raises(OSError, match="another one is pending") as caught:
            await stream.read(Buffer(1), 1, NONE)
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        await peer.send(peer.frames.message(BINARY, b"x"))
        assert bytes(await first) == b"x"


async def test_pings_are_answered_and_the_close_frame_is_told_although_nobody_reads() -> None:
    async with stream_and_peer() as (stream, peer, told):
        await peer.send(peer.frames.message(BINARY, b"unread") + peer.frames.ping(b"?"))
        assert await peer.next() == ("pong", b"?")
        await peer.send(peer.frames.close(3001, "enough"))
        assert await peer.next() == ("close", 3001, "")
        assert await peer.next() == "FIN"
        assert told == [(3001, "enough")]
        assert stream.end_reason == EndReason.CLOSED_BY_PEER
        for wanted in (b"unread", b"", b""):
            assert await read(stream, 10) == wanted
        with pytest.raises(OSError, match="3001 enough") as caught:
            await write(stream, b"late")
        assert caught.value.winerror == INET_E_DISCONNECTED
        assert await stream.flush() is False
        stream.close()
        await stream.wait_closed()
        assert stream.end_reason == EndReason.CLOSED_BY_PEER


async def test_what_nobody_reads_is_bounded_and_lets_the_peer_wait() -> None:
    async with stream_and_peer() as (stream, peer, _):
        data = bytes(range(256)) * 131_072
        sending = asyncio.ensure_future(peer.send(peer.frames.message(BINARY, data)))
        async with asyncio.timeout(PATIENCE):
            while not stream.link.paused:  # noqa: ASYNC110 - the end of receiving has no event
                await asyncio.sleep(0)
        kept = len(stream.incoming)
        assert RECEIVE_QUEUE_BYTES_LIMIT <= kept <= RECEIVE_QUEUE_BYTES_LIMIT + current_hub().block.size
        assert not sending.done()
        assert (stream.bytes_received, stream.stash_size()) == (0, 0)
        got = bytearray()
        while len(got) < len(data):
            got += await read(stream, 100_000, options=1)
            assert stream.stash_size() + len(stream.incoming or b"") <= 2 * kept
        assert got == data
        await sending


async def test_a_text_message_fails_the_read_behind_what_came_before_and_closes_with_1003() -> None:
    async with stream_and_peer() as (stream, peer, told):
        await peer.send(peer.frames.message(BINARY, b"before") + peer.frames.message(TEXT, "text"))
        assert await read(stream, 6) == b"before"
        for _ in range(2):
            with pytest.raises(OSError, match="a text message") as caught:
                await read(stream, 1)
            assert caught.value.winerror == WEB_SOCKET_E_PROTOCOL
        with pytest.raises(OSError, match="a text message"):
            await write(stream, b"late")
        assert await peer.next() == ("close", 1003, "a text message on a stream of bytes")
        assert await peer.next() == "FIN"
        assert (stream.end_reason, told) == (EndReason.ABORTED, [])


async def test_an_end_without_a_close_frame_is_no_end_of_the_stream() -> None:
    async with stream_and_peer() as (stream, peer, told):
        await peer.send(peer.frames.message(BINARY, b"before"))
        peer.plain.shutdown(1)
        assert await read(stream, 6) == b"before"
        with pytest.raises(ConnectionAbortedError) as caught:
            await read(stream, 1)
        assert getattr(caught.value, "winerror", 0) == INET_E_CONNECTION_ABORTED
        assert (stream.end_reason, told) == (EndReason.TRUNCATED, [])


async def test_close_ends_what_is_pending_sends_what_is_queued_and_is_answered() -> None:
    async with stream_and_peer() as (stream, peer, told):
        with pytest.raises(OSError, match="1005"):
            stream.close(1005, "")
        reading = stream.read(Buffer(1), 1, NONE)
        write(stream, b"last")
        stream.close(4000, "bye")
        with pytest.raises(OSError, match="while an operation was pending") as caught:
            await reading
        assert caught.value.winerror == INET_E_OPERATION_CANCELLED
        with pytest.raises(OSError, match="closed") as caught:
            await read(stream, 1)
        assert caught.value.winerror == errors.RO_E_CLOSED
        assert [await peer.next(), await peer.next()] == [b"last", ("close", 4000, "bye")]
        closing = stream.wait_closed()
        await peer.send(peer.frames.message(BINARY, b"crossed") + peer.frames.close(4001, "well"))
        await closing
        assert told == [(4001, "well")]
        assert stream.end_reason == EndReason.CLOSED_BY_US


async def test_a_peer_that_does_not_answer_is_cut_off() -> None:
    async with stream_and_peer() as (stream, peer, told):
        stream.link.close_wait = 0.01
        stream.close()
        await stream.wait_closed()
        assert (stream.end_reason, told) == (EndReason.ABORTED, [(1006, "")])
        assert [await peer.next(), await peer.next()] == [("close", 1005, ""), "RST"]


async def test_a_client_waits_for_the_server_to_end_the_connection() -> None:
    async with stream_and_peer(client=True) as (stream, peer, told):
        stream.close()
        closing = stream.wait_closed()
        assert await peer.next() == ("close", 1005, "")
        await peer.send(peer.frames.close())
        while not told:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        assert not closing.done()
        peer.plain.close()
        await closing
        assert stream.end_reason == EndReason.CLOSED_BY_US


async def test_shutting_the_writing_side_sends_the_close_frame_and_goes_on_reading() -> None:
    async with stream_and_peer() as (stream, peer, told):
        write(stream, b"last")
        stream.shut_writing()
        with pytest.raises(OSError, match="shut down"):
            await write(stream, b"late")
        assert [await peer.next(), await peer.next()] == [b"last", ("close", 1005, "")]
        await peer.send(peer.frames.message(BINARY, b"answer") + peer.frames.close(1000, ""))
        assert await read(stream, 10) == b"answer"
        assert await read(stream, 10) == b""
        assert told == [(1000, "")]
        stream.close()
        await stream.wait_closed()


async def test_it_cannot_be_given_away() -> None:
    async with stream_and_peer() as (stream, _peer, _):
        with pytest.raises(OSError, match="giving away a WebSocket") as caught:
            stream.detach()
        assert caught.value.winerror == errors.ERROR_NOT_SUPPORTED


async def test_tls_runs_over_it() -> None:
    one, other = await web_socket_sockets("TCP")
    async with asyncio.timeout(PATIENCE):
        client, server = await asyncio.gather(
            layer(stream_of(one), client_session(), client=True),
            layer(stream_of(other), server_session(), client=False),
        )
        data = bytes(range(256)) * 4_096
        writing = client.write(data, len(data))
        assert bytes(await server.read(Buffer(len(data)), len(data), NONE)) == data
        await writing
        await server.write(b"answer", 6)
        assert bytes(await client.read(Buffer(6), 6, NONE)) == b"answer"
        client.close()
        assert bytes(await server.read(Buffer(6), 6, NONE)) == b""
        server.close()
        await client.wait_closed()
        await server.wait_closed()
    assert (client.end_reason, server.end_reason) == (EndReason.CLOSED_BY_US, EndReason.CLOSED_BY_PEER)


async def test_a_web_socket_runs_over_it() -> None:
    one, other = await web_socket_sockets("TCP")
    async with asyncio.timeout(PATIENCE):
        client, server = WebSocketLink(stream_of(one), True), WebSocketLink(stream_of(other), False)
        client.start()
        server.start()
        for message in ("text", b"x" * 100_000):
            client.send(TEXT if isinstance(message, str) else BINARY, message, True)
            assert await server.receive(1) == message
        client.close()
        with pytest.raises(StopAsyncIteration):
            await server.receive(2)
        await client.stream.wait_closed()
        await server.stream.wait_closed()


async def test_in_a_forked_child_nobody_who_waits_is_told() -> None:
    """They are the parent's, and perhaps of another of its threads."""
    async with stream_and_peer() as (stream, peer, _):
        reading = stream.read(Buffer(2), 2, NONE)

        def child() -> None:
            assert stream.is_released()
            assert not reading.done()

        in_child(child)
        await peer.send(peer.frames.message(BINARY, b"hi"))
        assert bytes(await reading) == b"hi"
