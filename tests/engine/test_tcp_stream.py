"""Cancelling, ending, detaching: the TCP stream as a whole."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest
from tests.engine.pairs import (
    FIN,
    RST,
    connected_sockets,
    ending,
    receive,
    receive_ending,
    stream_and_peer,
    turns,
    until,
)

from moorings import Buffer, EndReason, errors
from moorings.engine.hub import current_hub
from moorings.engine.tcp_stream import TcpStream

if TYPE_CHECKING:
    from moorings.foundation.operation import Operation

NONE, PARTIAL, READ_AHEAD = 0, 1, 2


async def assert_aborted(operation: Operation) -> None:
    with pytest.raises(OSError) as caught:
        await operation
    assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
    assert operation.status.name == "ERROR"


async def assert_closed(operation: Operation) -> None:
    with pytest.raises(OSError) as caught:
        await operation
    assert caught.value.winerror == errors.RO_E_CLOSED


# -- cancelling a WinRT operation takes the connection down ----------------------------------------------------------


async def test_cancelled_read_ends_the_connection_with_fin_where_nothing_is_open() -> None:
    with stream_and_peer() as (stream, peer):
        operation = stream.read(Buffer(1), 1, NONE)
        operation.cancel()
        await assert_aborted(operation)
        assert await ending(peer) == FIN
        assert stream.is_released()


async def test_cancelled_read_resets_where_bytes_are_unread() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abc")
        await until(lambda: stream.readable)
        first = stream.read(Buffer(9), 9, NONE)
        peer.send(b"def")
        first.cancel()
        await assert_aborted(first)
        assert await ending(peer) == RST


async def test_cancelled_read_resets_where_bytes_are_in_the_stash() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abcdef")
        await stream.read(Buffer(2), 2, READ_AHEAD)
        await stream.read(Buffer(3), 3, NONE)
        stream.home.immediate = 1000
        pending = stream.read(Buffer(1), 1, NONE)
        pending.cancel()
        await assert_aborted(pending)
        assert await ending(peer) == RST


async def test_cancelled_write_resets_the_connection_although_nothing_was_sent() -> None:
    """FIN would tell the peer that it has everything."""
    with stream_and_peer() as (stream, peer):
        operation = stream.write(b"abc", 3)
        operation.cancel()
        await assert_aborted(operation)
        assert await receive_ending(peer) == (b"", RST)
        assert stream.end_reason == EndReason.ABORTED
        assert stream.queued_bytes == 0


async def test_cancelled_half_sent_write_resets() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        operation = stream.write(bytes(16 << 20), 16 << 20)
        await turns(3)
        assert not operation.done()
        operation.cancel()
        await assert_aborted(operation)
        assert await ending(peer) == RST
        assert stream.queued_bytes == 0


async def test_cancelling_one_of_many_fails_the_others() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        read = stream.read(Buffer(1), 1, NONE)
        writes = [stream.write(bytes(8 << 20), 8 << 20) for _ in range(3)]
        flush = stream.flush()
        await turns(3)
        writes[1].cancel()
        for operation in (read, *writes):
            await assert_aborted(operation)
        assert await flush is False
        assert await ending(peer) == RST


async def test_cancelled_flush_leaves_writes_queued() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        data = os.urandom(256 << 10)
        write = stream.write(data, len(data))
        flush = stream.flush()
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush
        receiving = asyncio.ensure_future(receive(peer, len(data)))
        assert await write == len(data)
        assert await receiving == data


async def test_cancelling_what_has_ended_does_nothing() -> None:
    with stream_and_peer() as (stream, peer):
        operation = stream.write(b"abc", 3)
        assert await operation == 3
        operation.cancel()
        assert stream.is_open()
        assert await receive(peer, 3) == b"abc"


# -- cancel_io keeps it ----------------------------------------------------------------------------------------------


async def test_cancel_io_ends_operations_and_loses_no_byte() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        data = os.urandom(256 << 10)
        read = stream.read(Buffer(9), 9, NONE)
        fill = stream.fill()
        peer.send(b"abc")
        await until(lambda: stream.bytes_received == 3)
        started = stream.write(data, len(data))
        await until(lambda: stream.bytes_sent > 0)
        waiting = stream.write(b"never", 5)
        flush = stream.flush()
        stream.cancel_io()
        for operation in (read, fill, waiting, flush):
            await assert_aborted(operation)
        assert len(read.get_results() if read.status == 1 else b"") == 0
        assert await started == len(data)
        assert stream.is_open()
        last = stream.write(b"last", 4)
        assert await receive(peer, len(data) + 4) == data + b"last"
        assert await last == 4
        assert stream.queued_bytes == 0
        assert bytes(await stream.read(Buffer(9), 3, NONE)) == b"abc"


async def test_cancel_io_of_an_idle_stream_does_nothing() -> None:
    with stream_and_peer() as (stream, peer):
        stream.cancel_io()
        await stream.write(b"a", 1)
        assert await receive(peer, 1) == b"a"


# -- closing ---------------------------------------------------------------------------------------------------------


async def test_close_sends_what_is_queued_then_fin() -> None:
    with stream_and_peer() as (stream, peer):
        operation = stream.write(b"abc", 3)
        stream.close()
        assert await operation == 3
        assert await receive_ending(peer) == (b"abc", FIN)
        assert stream.end_reason == EndReason.CLOSED_BY_US


async def test_close_lets_a_long_queue_go_out() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        data = os.urandom(256 << 10)
        stream.write(data, len(data))
        stream.close()
        assert not stream.is_released()
        closed = stream.wait_closed()
        assert await receive_ending(peer) == (data, FIN)
        await closed
        assert stream.is_released()


async def test_close_with_unread_data_resets_after_everything_was_acknowledged() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        peer.send(b"unread")
        await until(lambda: stream.readable)
        data = os.urandom(256 << 10)
        stream.write(data, len(data))
        stream.close()
        assert await receive_ending(peer) == (data, RST)


async def test_close_gives_up_at_the_deadline() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        stream.close_timeout = 0.02
        write = stream.write(bytes(16 << 20), 16 << 20)
        stream.close()
        await stream.wait_closed()
        await assert_aborted(write)
        assert await ending(peer) == RST
        assert stream.end_reason == EndReason.ABORTED


async def test_close_after_a_lost_write_does_not_pretend() -> None:
    """Without the shim: the queue's end is lost when the deadline is zero."""
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        stream.close_timeout = 0.0
        stream.write(bytes(16 << 20), 16 << 20)
        stream.close()
        await stream.wait_closed()
        assert await ending(peer) == RST


async def test_double_close_and_abort_do_nothing() -> None:
    with stream_and_peer() as (stream, peer):
        stream.close()
        stream.close()
        stream.abort()
        stream.abort()
        stream.tear_down()
        assert await ending(peer) == FIN
        assert stream.end_reason == EndReason.CLOSED_BY_US


async def test_abort_while_closing_resets() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        stream.write(bytes(16 << 20), 16 << 20)
        stream.close()
        waiting = stream.wait_closed()
        stream.abort()
        await waiting
        assert await ending(peer) == RST


async def test_everybody_who_waits_for_the_end_is_told() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        stream.write(bytes(16 << 20), 16 << 20)
        stream.close()
        impatient, patient = (asyncio.ensure_future(wait_closed(stream)) for _ in range(2))
        await turns(2)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        await patient
        assert await ending(peer) == RST


async def wait_closed(stream: TcpStream) -> None:
    await stream.wait_closed()


async def test_waiting_for_an_end_that_has_been() -> None:
    with stream_and_peer() as (stream, _peer):
        stream.abort()
        assert await stream.wait_closed() is None


async def test_pending_operations_fail_when_the_stream_closes() -> None:
    with stream_and_peer() as (stream, _peer):
        operations = [stream.read(Buffer(1), 1, NONE), stream.fill()]
        stream.close()
        for operation in operations:
            await assert_aborted(operation)
        for late in (stream.read(Buffer(1), 1, NONE), stream.fill(), stream.write(b"a", 1), stream.flush()):
            await assert_closed(late)


async def test_half_close_comes_behind_the_queue_and_reading_goes_on() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        data = os.urandom(256 << 10)
        stream.write(data, len(data))
        stream.shut_writing()
        stream.shut_writing()
        await assert_closed(stream.write(b"late", 4))
        assert await receive_ending(peer) == (data, FIN)
        peer.send(b"answer")
        assert bytes(await stream.read(Buffer(6), 6, NONE)) == b"answer"
        assert stream.is_open()


# -- detaching -------------------------------------------------------------------------------------------------------


async def test_detach_gives_the_descriptor_and_the_unread_bytes() -> None:
    with stream_and_peer() as (stream, peer):
        peer.send(b"abcdef")
        await stream.read(Buffer(2), 2, READ_AHEAD)
        stream.write(b"queued", 6)
        descriptor, unread, unsent, _ = stream.detach()
        with socket.socket(fileno=descriptor) as plain:
            assert (unread, unsent) == (b"cdef", b"")
            assert await receive(peer, 6) == b"queued"
            plain.send(b"on")
            assert await receive(peer, 2) == b"on"
        assert stream.end_reason == EndReason.DETACHED
        with pytest.raises(OSError) as caught:
            stream.detach()
        assert caught.value.winerror == errors.RO_E_CLOSED


async def test_detach_is_refused_while_something_is_pending() -> None:
    with stream_and_peer(send_buffer=4096) as (stream, peer):
        read = stream.read(Buffer(1), 1, NONE)
        with pytest.raises(OSError) as caught:
            stream.detach()
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        peer.send(b"a")
        await read
        stream.write(bytes(16 << 20), 16 << 20)
        with pytest.raises(OSError) as caught:
            stream.detach()
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        assert stream.is_open()


async def test_a_stream_that_cannot_be_registered_leaves_the_socket_alone() -> None:
    ours, peer = connected_sockets()
    with ours, peer:
        first = TcpStream(current_hub(), socket.socket(fileno=os.dup(ours.fileno())), "first")
        second = socket.socket(fileno=first.fd)
        with pytest.raises(OSError):  # the same descriptor twice in one epoll set: EEXIST
            TcpStream(current_hub(), second, "second")
        assert second.detach() == first.fd
        assert current_hub().count == 1
        first.abort()
        assert current_hub().epoll is None
