"""The reading side of a TCP stream."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress

import pytest
from tests.engine.pairs import PATIENCE, connected_sockets, reset, stream_and_peer, turns, until

from moorings import Buffer, EndReason, errors
from moorings.engine.hub import current_hub
from moorings.engine.stream_reading import STASH_FILL_SIZE
from moorings.engine.tcp_stream import TcpStream
from moorings.foundation.home import IMMEDIATE_LIMIT, TURN_BYTES_LIMIT

NONE, PARTIAL, READ_AHEAD = 0, 1, 2


async def read(stream: TcpStream, count: int, options: int = PARTIAL) -> bytes:
    buffer = Buffer(count)
    async with asyncio.timeout(PATIENCE):
        result = await stream.read(buffer, count, options)
    assert result is buffer
    return bytes(buffer)


async def use_up_turn(stream: TcpStream) -> None:
    """Take all awaits that may complete at once in this loop turn."""
    stream.home.immediate = IMMEDIATE_LIMIT


# -- what a read waits for -------------------------------------------------------------------------------------------


async def test_partial_read_takes_what_is_there() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abc")
        assert await read(stream, 10) == b"abc"


async def test_full_read_waits_for_all_bytes() -> None:
    with stream_and_peer() as (stream, peer):
        operation = stream.read(Buffer(6), 6, NONE)
        for byte in b"abcde":
            peer.send(bytes([byte]))
            await turns(3)
            assert not operation.done()
        peer.send(b"f")
        assert bytes(await operation) == b"abcdef"


async def test_full_read_is_short_at_the_end_of_the_stream() -> None:
    with stream_and_peer() as (stream, peer):
        operation = stream.read(Buffer(6), 6, NONE)
        peer.send(b"abc")
        peer.shutdown(socket.SHUT_WR)
        assert bytes(await operation) == b"abc"
        assert await read(stream, 6, NONE) == b""
        assert stream.end_reason == EndReason.CLOSED_BY_PEER


async def test_the_end_is_read_as_often_as_asked() -> None:
    with stream_and_peer() as (stream, peer):
        peer.close()
        for _ in range(3):
            assert await read(stream, 1) == b""
        assert await stream.fill() == 0


async def test_a_fill_behind_unread_bytes_leaves_the_loop_alone() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abc")
        assert await stream.fill() == 3
        operation = stream.fill()
        await turns(3)
        assert not stream.deferred
        peer.send(b"d")
        assert await operation == 1
        assert stream.take_stash(9) == b"abcd"


async def test_read_ahead_keeps_the_rest_for_the_next_read() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abcdef")
        assert await read(stream, 2, READ_AHEAD) == b"ab"
        assert stream.stash_size() == 4
        calls = stream.receive_calls
        assert await read(stream, 3, NONE) == b"cde"
        assert await read(stream, 9, PARTIAL) == b"f"
        assert stream.receive_calls == calls


async def test_without_read_ahead_nothing_more_is_taken() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abcdef")
        assert await read(stream, 2, PARTIAL) == b"ab"
        assert stream.stash_size() == 0


async def test_a_small_message_costs_one_receive_call() -> None:
    with stream_and_peer() as (stream, peer):
        for number in range(20):
            operation = stream.read(Buffer(100), 100, PARTIAL)
            peer.send(b"x" * 64)
            assert len(await operation) == 64
            assert stream.receive_calls == number + 1


async def test_reads_are_served_in_call_order() -> None:
    with stream_and_peer() as (stream, peer):
        operations = [stream.read(Buffer(4), count, NONE) for count in (1, 4, 2, 3)]
        fill = stream.fill()
        peer.send(b"abbbbccddde")
        assert [bytes(await operation) for operation in operations] == [b"a", b"bbbb", b"cc", b"ddd"]
        assert await fill == 1
        assert stream.take_stash(9) == b"e"


async def test_big_reads_of_a_fast_stream_are_complete() -> None:
    data = bytes(range(256)) * 4096
    with stream_and_peer() as (stream, peer):
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(peer, data))
        assert await read(stream, len(data), NONE) == data
        await sending
        assert stream.bytes_received == len(data)


# -- reading nothing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [NONE, PARTIAL, READ_AHEAD])
async def test_reading_nothing_takes_nothing(options: int) -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abc")
        await until(lambda: stream.readable)
        assert await read(stream, 0, options) == b""
        assert stream.end_reason == EndReason.OPEN
        assert await read(stream, 9) == b"abc"


async def test_reading_nothing_completes_on_a_silent_connection() -> None:
    with stream_and_peer() as (stream, _peer):
        assert await read(stream, 0) == b""


async def test_reading_nothing_completes_when_the_turn_is_used_up() -> None:
    with stream_and_peer() as (stream, _peer):
        await use_up_turn(stream)
        assert await read(stream, 0) == b""


async def test_reading_nothing_waits_for_earlier_reads() -> None:
    with stream_and_peer() as (stream, peer):
        first = stream.read(Buffer(1), 1, NONE)
        nothing = stream.read(Buffer(0), 0, NONE)
        await turns(3)
        assert not nothing.done()
        peer.send(b"a")
        assert bytes(await nothing) == b""
        assert first.done()


# -- the stash -------------------------------------------------------------------------------------------------------


async def test_fill_grows_the_stash() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abc")
        assert await stream.fill() == 3
        peer.send(b"def")
        assert await stream.fill() == 3
        assert stream.stash_size() == 6
        assert stream.take_stash(2) == b"ab"
        assert stream.find_in_stash(b"e", 0) == 2
        assert stream.find_in_stash(b"c", 1) == -1
        assert stream.take_stash(99) == b"cdef"
        assert stream.take_stash(99) == b""
        assert stream.find_in_stash(b"e", 0) == -1


async def test_bytes_put_back_come_first() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"ef")
        await stream.fill()
        stream.unread(b"cd")
        stream.unread(b"ab")
        stream.unread(b"")
        assert stream.stash_size() == 6
        assert await read(stream, 3, NONE) == b"abc"
        stream.unread(b"C")
        assert await read(stream, 9, PARTIAL) == b"Cdef"


async def test_a_long_stash_is_taken_in_small_pieces() -> None:
    data = bytes(range(256)) * 1024
    with stream_and_peer() as (stream, peer):
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(peer, data))
        taken = bytearray()
        while len(taken) < len(data):
            await stream.fill()
            while stream.stash_size() > 1000:
                taken += stream.take_stash(997)
            if len(taken) + stream.stash_size() == len(data):
                taken += stream.take_stash(1000)
        await sending
        assert bytes(taken) == data


async def test_one_fill_is_bounded() -> None:
    with stream_and_peer() as (stream, peer):
        peer.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                peer.send(bytes(1 << 20))
        assert await stream.fill() <= STASH_FILL_SIZE
        assert stream.stash_size() <= STASH_FILL_SIZE


# -- nobody reads ----------------------------------------------------------------------------------------------------


async def test_nothing_is_received_before_somebody_asks() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abc")
        await until(lambda: stream.readable)
        await turns(5)
        assert stream.receive_calls == 0


async def test_events_stop_while_nobody_reads_and_come_back() -> None:
    with stream_and_peer() as (stream, peer):
        for _ in range(3):
            peer.send(b"abc")
            await turns(5)
        await until(lambda: not stream.armed)
        assert await read(stream, 99) == b"abc" * 3
        operation = stream.read(Buffer(9), 9, PARTIAL)
        assert stream.armed
        peer.send(b"def")
        assert bytes(await operation) == b"def"


async def test_the_end_is_seen_although_events_had_stopped() -> None:
    with stream_and_peer() as (stream, peer):
        for _ in range(3):
            peer.send(b"abc")
            await turns(5)
        await until(lambda: not stream.armed)
        peer.close()
        await turns(5)
        assert await read(stream, 99, NONE) == b"abc" * 3
        assert await read(stream, 99) == b""


async def test_urgent_data_does_not_stall_the_stream() -> None:
    """The kernel stops reading at the urgent byte, and no event tells that there is more behind it."""
    with stream_and_peer() as (stream, peer):
        for waits in (False, True):
            operation = stream.read(Buffer(5), 5, NONE) if waits else None
            peer.send(b"abc")
            peer.send(b"!", socket.MSG_OOB)
            peer.send(b"ef")
            await turns(5)
            if operation is None:
                operation = stream.read(Buffer(5), 5, NONE)
            async with asyncio.timeout(PATIENCE):
                assert bytes(await operation) == b"abcef"


# -- the turn's budget -----------------------------------------------------------------------------------------------


async def test_after_some_immediate_reads_one_suspends() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"x" * 1000)
        await stream.fill()
        await use_up_turn(stream)
        operation = stream.read(Buffer(1), 1, NONE)
        assert not operation.done()
        await operation
        immediate = 0
        while stream.read(Buffer(1), 1, NONE).done():
            immediate += 1
        assert immediate <= IMMEDIATE_LIMIT


async def test_one_turn_reads_a_bounded_number_of_bytes() -> None:
    with stream_and_peer() as (stream, peer):
        size = 16 * TURN_BYTES_LIMIT
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(peer, bytes(size)))
        operation = stream.read(Buffer(size), size, NONE)
        most = before = 0
        while not operation.done():
            await asyncio.sleep(0)
            most = max(most, stream.bytes_received - before)
            before = stream.bytes_received
        await sending
        # The last receive call may start just below the limit and bring a block, or what the kernel holds.
        assert most <= 2 * TURN_BYTES_LIMIT + size // 2
        assert before == size


# -- failures --------------------------------------------------------------------------------------------------------


async def test_reset_fails_the_pending_read_and_all_later_ones() -> None:
    with stream_and_peer() as (stream, peer):
        operation = stream.read(Buffer(1), 1, NONE)
        reset(peer)
        for attempt in (operation, stream.read(Buffer(1), 1, NONE), stream.fill()):
            with pytest.raises(ConnectionResetError) as caught:
                await attempt
            assert caught.value.winerror == errors.WSAECONNRESET
            assert caught.value.errno == errno.ECONNRESET
            assert "receiving failed: the peer reset the connection" in str(caught.value)
        assert stream.end_reason == EndReason.RESET


async def test_bytes_before_a_reset_are_delivered_first() -> None:
    with stream_and_peer() as (stream, peer):
        operation = stream.read(Buffer(9), 9, NONE)
        peer.send(b"abc")
        await until(lambda: stream.bytes_received == 3)
        reset(peer)
        assert bytes(await operation) == b"abc"
        with pytest.raises(ConnectionResetError):
            await read(stream, 9)


async def test_a_failure_that_is_raised_often_does_not_grow() -> None:
    with stream_and_peer() as (stream, peer):
        reset(peer)

        async def length() -> int:
            with pytest.raises(ConnectionResetError) as caught:
                await stream.read(Buffer(1), 1, NONE)
            return len(caught.traceback)

        first = await length()
        for _ in range(10):
            assert await length() <= first + 1


async def test_what_arrived_before_a_failed_send_can_be_read() -> None:
    """A server that answers early and closes: the client is still sending, and wants the answer."""
    ours, peer = connected_sockets(receive_buffer=4096)
    ours.setblocking(False)
    stream = TcpStream(current_hub(), ours, "the stream")
    writing = stream.write(bytes(8 << 20), 8 << 20)
    await turns(3)
    peer.send(b"413 too large")
    peer.close()  # with data unread: RST
    with pytest.raises(ConnectionResetError):
        await writing
    assert await read(stream, 99) == b"413 too large"
    with pytest.raises(ConnectionResetError):
        await read(stream, 99)
    assert stream.end_reason == EndReason.RESET
    stream.abort()


# -- after the end ---------------------------------------------------------------------------------------------------


async def test_reading_after_the_end_of_the_object() -> None:
    with stream_and_peer() as (stream, _peer):
        pending = stream.read(Buffer(1), 1, NONE)
        stream.close()
        with pytest.raises(OSError) as caught:
            await pending
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        with pytest.raises(OSError) as caught:
            await read(stream, 1)
        assert caught.value.winerror == errors.RO_E_CLOSED
