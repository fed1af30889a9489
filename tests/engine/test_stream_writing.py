"""The writing side of a TCP stream."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.engine.pairs import (
    FIN,
    PATIENCE,
    RST,
    ending,
    receive,
    receive_ending,
    reset,
    socket_and_peer,
    stream_and_peer,
    turns,
    until,
)

from moorings import Buffer, EndReason, errors
from moorings.engine.stream_writing import HANDED_OVER_LIMIT, WRITE_FLUSH_MARK
from moorings.foundation.home import IMMEDIATE_LIMIT, TURN_BYTES_LIMIT

if TYPE_CHECKING:
    from moorings.engine.tcp_stream import TcpStream
    from moorings.foundation.operation import Operation

BIG = 16 << 20
#: More than a connection with a send buffer of 4 KiB takes at once.
SOME = 1 << 19


# -- when things are sent --------------------------------------------------------------------------------------------


async def test_awaiting_a_write_sends_it_at_once() -> None:
    with stream_and_peer() as (stream, peer):
        operation = stream.write(b"abc", 3)
        assert stream.send_calls == 0
        assert await operation == 3
        assert stream.send_calls == 1
        assert await receive(peer, 3) == b"abc"


async def test_awaiting_the_newest_write_sends_all_before_it_in_one_call() -> None:
    with stream_and_peer() as (stream, peer):
        operations = [stream.write(bytes([65 + number]), 1) for number in range(20)]
        await operations[-1]
        assert all(operation.done() for operation in operations)
        assert stream.send_calls == 1
        assert await receive(peer, 20) == bytes(range(65, 85))


async def test_an_unawaited_write_goes_out_at_the_end_of_the_turn() -> None:
    with stream_and_peer() as (stream, peer):
        operations = [stream.write(b"ab", 2) for _ in range(10)]
        assert stream.send_calls == 0
        await until(operations[-1].done)
        assert stream.send_calls == 1
        assert await receive(peer, 20) == b"ab" * 10


async def test_the_byte_mark_sends_without_waiting() -> None:
    with stream_and_peer() as (stream, peer):
        piece = os.urandom(WRITE_FLUSH_MARK // 4)
        operations = [stream.write(piece, len(piece)) for _ in range(4)]
        assert stream.send_calls == 1
        assert operations[-1].done()
        assert await receive(peer, WRITE_FLUSH_MARK) == piece * 4


async def test_more_pieces_than_one_call_takes() -> None:
    with stream_and_peer() as (stream, peer):
        data = os.urandom(700)
        for byte in data:
            stream.write(bytes([byte]), 1)
        assert await stream.flush() is True
        assert stream.send_calls == 3
        assert await receive(peer, 700) == data


async def test_flush_of_an_empty_queue() -> None:
    with stream_and_peer() as (stream, _peer):
        assert await stream.flush() is True
        assert stream.send_calls == 0


async def test_flush_ends_behind_the_writes_before_it_only() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, _peer):
        first = stream.write(b"abc", 3)
        flush = stream.flush()
        second = stream.write(bytes(BIG), BIG)
        await flush
        assert first.done()
        assert not second.done()


# -- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3])
async def test_any_bytes_like_object(size: int) -> None:
    data = b"abc"[:size]
    filled = Buffer(10)
    filled._put(0, data)
    filled.length = size
    async with socket_and_peer() as (ours, peer):
        for kind in (bytes, bytearray, memoryview):
            assert await ours.output_stream.write_async(kind(data)) == size
        assert await ours.output_stream.write_async(filled) == size
        ours.output_stream.write_async(data)
        ours.output_stream.write_async(filled)
        ours.output_stream.write_async(bytearray(data))
        assert await ours.output_stream.flush_async() is True
        assert await receive(peer, 7 * size) == data * 7


async def test_nothing_mixed_with_something() -> None:
    with stream_and_peer() as (stream, peer):
        operations = [stream.write(b"a" * count, count) for count in (0, 0, 2, 0, 1, 0)]
        assert [await operation for operation in operations] == [0, 0, 2, 0, 1, 0]
        assert await receive(peer, 3) == b"aaa"
        assert await stream.write(b"", 0) == 0


async def test_a_big_write_arrives_whole_through_a_small_kernel_buffer() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        data = os.urandom(256 << 10)
        parts = [
            stream.write(data[start:stop], stop - start) for start, stop in pairwise((0, 7, 8000, 90000, 256 << 10))
        ]
        receiving = asyncio.ensure_future(receive(peer, len(data)))
        assert await stream.flush() is True
        assert all(part.done() for part in parts)
        assert await receiving == data
        assert (stream.queued_bytes, stream.bytes_sent) == (0, len(data))


async def test_progress_counts_up_to_the_length() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        seen: list[int] = []
        operation = stream.write(bytes(256 << 10), 256 << 10)
        operation.progress = lambda _operation, value: seen.append(value)
        receiving = asyncio.ensure_future(receive(peer, 256 << 10))
        await operation
        await receiving
        assert seen == sorted(seen)
        assert 0 < len(seen)
        assert seen[-1] < 256 << 10


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_and_counts() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, _peer):
        stream.queue_limit = BIG
        first = stream.write(bytes(BIG), BIG)
        refused = stream.write(bytes(BIG), BIG)
        with pytest.raises(OSError, match="limit") as caught:
            await refused
        assert caught.value.winerror == errors.WSAENOBUFS
        assert stream.writes_refused == 1
        assert not first.done()
        assert stream.is_open()
        assert stream.queued_bytes <= BIG


async def test_a_refused_write_that_nobody_saw_shows_in_flush_and_in_the_next_write() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        stream.queue_limit = SOME
        stream.write(bytes(SOME), SOME)
        stream.write(bytes(SOME), SOME)
        stream.queue_limit = 2 * SOME  # there would be room now, but the bytes before are missing
        with pytest.raises(OSError, match="limit") as caught:
            await stream.write(b"next", 4)
        assert caught.value.winerror == errors.WSAENOBUFS
        assert stream.writes_refused == 2
        # Seen now: what follows is sent again.
        last = stream.write(b"last", 4)
        receiving = asyncio.ensure_future(receive(peer, SOME + 4))
        assert await stream.flush() is True
        assert await last == 4
        assert (await receiving)[-5:] == b"\0last"


async def test_a_flush_tells_of_a_refused_write_once_and_after_the_writes_before() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        stream.queue_limit = SOME
        first = stream.write(bytes(SOME), SOME)
        stream.write(bytes(SOME), SOME)
        flush = stream.flush()
        assert not flush.done()
        receiving = asyncio.ensure_future(receive(peer, SOME))
        assert await flush is False
        assert first.done()
        assert await stream.flush() is True
        await receiving


@pytest.mark.parametrize("look", ["await", "status", "error_code", "get_results", "exception", "completed"])
async def test_whoever_saw_the_refusal_may_write_on(look: str) -> None:
    with stream_and_peer(send_buffer=4096) as (stream, _peer):
        stream.queue_limit = SOME
        stream.write(bytes(SOME), SOME)
        refused = stream.write(bytes(SOME), SOME)
        assert stream.has_gap()
        if look == "await":
            with pytest.raises(OSError, match="limit"):
                await refused
        elif look == "get_results":
            with pytest.raises(OSError, match="limit"):
                refused.get_results()
        elif look == "completed":
            refused.completed = lambda _operation, _status: None
        elif look == "exception":
            assert refused.exception() is not None
        else:
            assert getattr(refused, look) != 0
        assert not stream.has_gap()


async def test_closing_behind_a_gap_is_no_clean_end_for_the_peer() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        stream.queue_limit = SOME
        stream.write(bytes(SOME), SOME)
        stream.write(bytes(SOME), SOME)
        receiving = asyncio.ensure_future(receive_ending(peer))
        stream.close()
        data, how = await receiving
        assert how != FIN
        assert len(data) <= SOME


async def test_one_write_longer_than_the_limit_passes_an_empty_queue() -> None:
    with stream_and_peer() as (stream, peer):
        stream.queue_limit = 10
        receiving = asyncio.ensure_future(receive(peer, 100))
        assert await stream.write(bytes(100), 100) == 100
        await receiving


async def test_one_turn_sends_a_bounded_number_of_bytes() -> None:
    """A peer that takes it as fast as it comes must not hold the loop."""
    with stream_and_peer() as (stream, peer):
        stream.home.new_turn()
        operation = stream.write(bytes(64 << 20), 64 << 20)
        sent_at_once = stream.send_calls
        assert sent_at_once == 1
        assert not operation.done()
        receiving = asyncio.ensure_future(receive_ending(peer))
        most = before = stream.send_calls
        while not operation.done():
            await asyncio.sleep(0)
            most = max(most, stream.send_calls - before)
            before = stream.send_calls
        stream.close()
        data, how = await receiving
        assert (len(data), how) == (64 << 20, FIN)
        assert most <= 3  # one for the turn that goes on, one for the event, one that finds the buffer full


def waiter_of(operation: Operation) -> object:
    """What an awaiting task holds while it is suspended; None when it does not have to suspend."""
    waiter = operation.__await__()
    try:
        next(waiter)
    except StopIteration:
        return None
    return waiter


def fill_the_kernel(stream: TcpStream) -> int:
    """Send as much as the kernel takes, past the stream."""
    sent = 0
    with socket.socket(fileno=os.dup(stream.fd)) as plain, suppress(BlockingIOError):
        while True:
            sent += plain.send(bytes(1000))
    return sent


async def test_after_some_immediate_writes_one_suspends() -> None:
    with stream_and_peer() as (stream, peer):
        stream.home.new_turn()
        for _ in range(IMMEDIATE_LIMIT):
            assert waiter_of(stream.write(b"a", 1)) is None
        last = stream.write(b"b", 1)
        waiter = waiter_of(last)  # held: letting go of it is like closing the coroutine that awaits
        assert waiter is not None
        assert await last == 1
        assert await receive(peer, IMMEDIATE_LIMIT + 1) == b"a" * IMMEDIATE_LIMIT + b"b"


async def test_after_many_bytes_a_write_suspends() -> None:
    with stream_and_peer() as (stream, peer):
        stream.home.new_turn()
        stream.home.turn_bytes = TURN_BYTES_LIMIT
        last = stream.write(b"a", 1)
        waiter = waiter_of(last)  # held: letting go of it is like closing the coroutine that awaits
        assert waiter is not None
        assert await last == 1
        assert await receive(peer, 1) == b"a"


# -- handed over -----------------------------------------------------------------------------------------------------


def handed_over(stream: TcpStream, data: bytes) -> None:
    """Let `data` be written, and the write end, while the turn's budget is used up."""
    stream.home.turn_bytes = TURN_BYTES_LIMIT
    assert waiter_of(stream.write(data, len(data))) is None
    assert stream.has_unsent()


async def test_beyond_the_budget_one_big_write_ends_before_it_is_sent_and_goes_out_with_the_next_one() -> None:
    with stream_and_peer() as (stream, peer):
        first, second = os.urandom(WRITE_FLUSH_MARK), os.urandom(WRITE_FLUSH_MARK)
        handed_over(stream, first)
        assert stream.send_calls == 0
        assert stream.queued_bytes == len(first)
        assert await stream.write(second, len(second)) == len(second)  # this one waits for the next turn
        assert stream.send_calls == 1
        assert await receive(peer, 2 * WRITE_FLUSH_MARK) == first + second
        assert (stream.queued_bytes, stream.bytes_sent) == (0, 2 * WRITE_FLUSH_MARK)


@pytest.mark.parametrize(
    "data",
    [bytearray(WRITE_FLUSH_MARK), memoryview(bytes(WRITE_FLUSH_MARK)), bytes(100), bytes(HANDED_OVER_LIMIT + 1)],
    ids=["may change", "may be a part of something", "small", "too big"],
)
async def test_other_writes_end_only_when_the_kernel_has_them(data: bytes) -> None:
    with stream_and_peer() as (stream, peer):
        stream.home.turn_bytes = TURN_BYTES_LIMIT
        operation = stream.write(data, len(data))
        waiter = waiter_of(operation)
        assert waiter is not None
        received = asyncio.create_task(receive(peer, len(data)))
        assert await operation == len(data)
        assert stream.bytes_sent == len(data)
        assert len(await received) == len(data)


async def test_flush_waits_for_what_was_handed_over() -> None:
    with stream_and_peer() as (stream, peer):
        handed_over(stream, bytes(WRITE_FLUSH_MARK))
        assert await stream.flush() is True
        assert stream.bytes_sent == WRITE_FLUSH_MARK
        await receive(peer, WRITE_FLUSH_MARK)


async def test_cancel_io_keeps_what_was_handed_over() -> None:
    with stream_and_peer() as (stream, peer):
        data = os.urandom(WRITE_FLUSH_MARK)
        sent = fill_the_kernel(stream)
        handed_over(stream, data)
        waiting = stream.write(bytearray(9), 9)
        stream.cancel_io()
        with pytest.raises(OSError) as caught:
            await waiting
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        assert stream.queued_bytes > 0
        assert (await receive(peer, sent + len(data)))[sent:] == data


async def test_what_was_handed_over_does_not_fill_the_queue() -> None:
    """A program that awaits each write is never refused one, however small the queue."""
    with stream_and_peer() as (stream, peer):
        stream.queue_limit = WRITE_FLUSH_MARK
        first, second = os.urandom(WRITE_FLUSH_MARK), os.urandom(WRITE_FLUSH_MARK)
        handed_over(stream, first)
        waiting = stream.write(second, len(second))
        refused = stream.write(b"too much", 8)
        with pytest.raises(OSError) as caught:
            await refused
        assert caught.value.winerror == errors.WSAENOBUFS
        assert await waiting == len(second)
        assert await receive(peer, 2 * WRITE_FLUSH_MARK) == first + second


async def test_closing_sends_what_was_handed_over() -> None:
    with stream_and_peer() as (stream, peer):
        data = os.urandom(WRITE_FLUSH_MARK)
        handed_over(stream, data)
        stream.close()
        assert await receive_ending(peer) == (data, FIN)


async def test_detaching_gives_what_was_handed_over_and_the_kernel_does_not_take() -> None:
    with stream_and_peer() as (stream, peer):
        data = os.urandom(WRITE_FLUSH_MARK)
        sent = fill_the_kernel(stream)
        handed_over(stream, data)
        descriptor, unread, unsent, _ = stream.detach()
        with socket.socket(fileno=descriptor) as plain:
            assert unread == b""
            assert unsent == data[stream.bytes_sent :] != b""
            got = await receive(peer, sent + stream.bytes_sent)
            assert got[sent:] == data[: stream.bytes_sent]
            plain.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(plain, unsent)
            assert await receive(peer, len(unsent)) == unsent
        assert stream.queued_bytes == 0


async def test_what_was_handed_over_and_fails_shows_in_the_next_write() -> None:
    with stream_and_peer() as (stream, peer):
        handed_over(stream, bytes(WRITE_FLUSH_MARK))
        reset(peer)
        await until(lambda: stream.end_reason != EndReason.OPEN)
        with pytest.raises(OSError) as caught:
            await stream.write(b"late", 4)
        assert caught.value.winerror in {errors.WSAECONNRESET, errors.WSAECONNABORTED}
        assert await stream.flush() is False
        assert stream.queued_bytes == 0


# -- failures --------------------------------------------------------------------------------------------------------


async def test_a_failed_write_fails_all_behind_it_and_those_to_come() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        writes = [stream.write(bytes(BIG), BIG) for _ in range(3)]
        flush = stream.flush()
        await turns(3)
        reset(peer)
        for operation in (*writes, stream.write(b"late", 4)):
            with pytest.raises(ConnectionResetError) as caught:
                await operation
            assert caught.value.winerror == errors.WSAECONNRESET
        assert await flush is False
        assert await stream.flush() is False
        assert stream.end_reason == EndReason.RESET
        assert stream.queued_bytes == 0


async def test_a_failed_write_that_nobody_awaited_shows_in_flush_and_in_the_next_write() -> None:
    async with socket_and_peer(send_buffer=4096) as (ours, peer):
        ours.write(bytes(BIG))
        await turns(3)
        reset(peer)
        await until(lambda: ours.end_reason != EndReason.OPEN)
        assert await ours.output_stream.flush_async() is False
        with pytest.raises(ConnectionResetError):
            ours.write(b"late")
        for attempt in (ours.output_stream.write_async(b"late"), ours.flush()):
            with pytest.raises(ConnectionResetError):
                await attempt


# -- what a resumed task may do --------------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", ["abort", "close", "shut_writing", "cancel_io", "tear_down"])
async def test_a_task_that_is_resumed_by_its_write_may_end_the_stream(deed: str) -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        size = 256 << 10

        async def write() -> None:
            await stream.write(bytes(size), size)
            getattr(stream, deed)()

        async with asyncio.timeout(PATIENCE):
            writing = asyncio.ensure_future(write())
            await turns(2)
            rest = stream.write(bytes(size), size)
            if deed != "shut_writing":
                stream.shut_writing()
            data, how = await receive_ending(peer)
            await writing
        await until(rest.done)
        if deed in {"abort", "tear_down"}:
            assert how == RST
        else:
            assert how == FIN
            assert len(data) in {size, 2 * size}


async def test_half_close_when_the_resumed_task_aborts() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        size = 256 << 10

        async def write() -> None:
            await stream.write(bytes(size), size)
            stream.abort()

        writing = asyncio.ensure_future(write())
        await turns(2)
        stream.shut_writing()
        assert await ending(peer) == RST
        await writing
