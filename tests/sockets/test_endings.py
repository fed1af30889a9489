"""What the peer sees at the end of a connection, and half-closing in both directions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.engine.pairs import (
    FIN,
    PATIENCE,
    RST,
    clog,
    ending,
    receive,
    receive_ending,
    reset,
    socket_and_peer,
    until,
)

from moorings import EndReason, errors
from moorings.engine import descriptor
from winrt.windows.foundation import AsyncStatus
from winrt.windows.storage.streams import Buffer, InputStreamOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from winrt.windows.networking.sockets import StreamSocket


async def finish(result: object) -> None:
    if asyncio.iscoroutine(result):
        await result


async def leave_with_block(ours: StreamSocket) -> None:
    async with ours:
        pass


async def leave_with_error(ours: StreamSocket) -> None:
    async with ours:
        ours.write(b"goodbye")
        raise KeyError


def leave_sync_block(ours: StreamSocket) -> None:
    with ours:
        pass


GRACEFUL: list[Callable[[StreamSocket], object]] = [
    lambda ours: ours.close(),
    lambda ours: ours.aclose(),
    leave_with_block,
    leave_sync_block,
]
GRACEFUL_NAMES = ["close", "aclose", "async with", "with"]


@pytest.fixture(params=GRACEFUL, ids=GRACEFUL_NAMES)
def close(request: pytest.FixtureRequest) -> Callable[[StreamSocket], object]:
    way: Callable[[StreamSocket], object] = request.param
    return way


async def arrived(ours: StreamSocket, count: int) -> None:
    """Wait until the kernel has received so many bytes."""
    stream = ours._connection.stream
    assert stream is not None
    await until(lambda: descriptor.unread_bytes(stream.fd) == count)


async def test_close_sends_fin(close: Callable[[StreamSocket], object]) -> None:
    async with socket_and_peer() as (ours, peer):
        await finish(close(ours))
        assert await ending(peer) == FIN
        assert ours.end_reason == EndReason.CLOSED_BY_US


async def test_close_sends_what_was_written_before(close: Callable[[StreamSocket], object]) -> None:
    async with socket_and_peer() as (ours, peer):
        ours.write(b"first ")
        ours.output_stream.write_async(b"second")
        await finish(close(ours))
        assert await receive_ending(peer) == (b"first second", FIN)


async def test_close_with_more_than_the_buffers_hold(close: Callable[[StreamSocket], object]) -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        writing = ours.write(bytes(1 << 20))
        reading = asyncio.create_task(receive_ending(peer))
        await finish(close(ours))
        data, end = await reading
        assert (len(data), end) == (1 << 20, FIN)
        assert await writing == 1 << 20


async def test_close_with_unread_data_sends_rst(close: Callable[[StreamSocket], object]) -> None:
    """Data in the kernel that was never read: a FIN would claim that it was."""
    async with socket_and_peer() as (ours, peer):
        peer.send(b"never read")
        await arrived(ours, 10)
        await finish(close(ours))
        assert await ending(peer) == RST


async def test_close_with_data_in_our_own_buffer_sends_rst(close: Callable[[StreamSocket], object]) -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"half read")
        await arrived(ours, 9)
        assert await ours.read(4) == b"half"
        await finish(close(ours))
        assert await ending(peer) == RST


async def test_what_was_written_arrives_before_the_rst(close: Callable[[StreamSocket], object]) -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"never read")
        await arrived(ours, 10)
        ours.write(b"the answer")
        reading = asyncio.create_task(receive_ending(peer))
        await finish(close(ours))
        assert await reading == (b"the answer", RST)


async def test_close_after_everything_was_read_sends_fin(close: Callable[[StreamSocket], object]) -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"all of it")
        assert await ours.read_exactly(9) == b"all of it"
        await finish(close(ours))
        assert await ending(peer) == FIN


async def test_abort_sends_rst_and_drops_the_queue() -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        writing = ours.write(bytes(1 << 20))
        await until(lambda: ours.counters.bytes_sent > 0)
        ours.abort()
        data, end = await receive_ending(peer)
        assert end == RST
        assert len(data) < 1 << 20
        with pytest.raises(OSError) as caught:
            await writing
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        assert ours.counters.queued_bytes == 0


async def test_leaving_the_block_with_an_exception_is_graceful_too() -> None:
    async with socket_and_peer() as (ours, peer):
        with pytest.raises(KeyError):
            await leave_with_error(ours)
        assert await receive_ending(peer) == (b"goodbye", FIN)


async def test_a_peer_that_does_not_read_is_aborted_at_the_deadline() -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        await clog(ours, 1 << 20)
        ours.limits.close_timeout = 0.01
        async with asyncio.timeout(PATIENCE):
            await ours.aclose()
        assert ours.end_reason == EndReason.ABORTED
        assert await ending(peer) == RST


async def test_cancelled_aclose_aborts() -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        await clog(ours, 1 << 20)
        closing = asyncio.create_task(ours.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert ours.end_reason == EndReason.ABORTED
        assert await ending(peer) == RST


async def test_close_ends_pending_reads() -> None:
    async with socket_and_peer() as (ours, _):
        reading = ours.input_stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)
        line = asyncio.create_task(ours.read_until())
        ours.close()
        for pending in (reading, line):
            with pytest.raises(OSError) as caught:
                await pending  # type: ignore[misc]
            assert caught.value.winerror in {errors.ERROR_OPERATION_ABORTED, errors.RO_E_CLOSED}
        assert reading.status == AsyncStatus.ERROR


async def test_a_cancelled_read_async_takes_the_connection_down() -> None:
    async with socket_and_peer() as (ours, peer):
        reading = ours.input_stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)
        reading.cancel()
        with pytest.raises(OSError) as caught:
            await reading
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        assert reading.status == AsyncStatus.ERROR
        assert await ending(peer) == FIN  # nothing was unread or unsent
        with pytest.raises(OSError) as caught:
            ours.write(b"x")
        assert caught.value.winerror == errors.RO_E_CLOSED


async def test_a_cancelled_write_async_resets() -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        writing = ours.output_stream.write_async(bytes(1 << 20))
        await until(lambda: ours.counters.bytes_sent > 0)
        writing.cancel()
        with pytest.raises(OSError) as caught:
            await writing
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        assert await ending(peer) == RST


async def test_cancel_io_keeps_the_connection_and_every_byte() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"half")
        reading = ours.input_stream.read_async(Buffer(8), 8, InputStreamOptions.NONE)
        await until(lambda: ours.counters.bytes_received == 4)
        await ours.cancel_io_async()
        assert reading.status == AsyncStatus.ERROR
        assert int(reading.error_code) == errors.ERROR_OPERATION_ABORTED
        peer.send(b" way")
        assert await ours.read_exactly(8) == b"half way"
        await ours.write(b"on")
        assert await receive(peer, 2) == b"on"


# -- half-closing ----------------------------------------------------------------------------------------------------


HALF: list[Callable[[StreamSocket], None]] = [
    lambda ours: ours.end_writing(),
    lambda ours: ours.output_stream.close(),
]


@pytest.mark.parametrize("half_close", HALF, ids=["end_writing", "output_stream.close"])
async def test_we_end_first_and_go_on_reading(half_close: Callable[[StreamSocket], None]) -> None:
    async with socket_and_peer() as (ours, peer):
        ours.write(b"request")
        half_close(ours)
        half_close(ours)
        assert await receive_ending(peer) == (b"request", FIN)
        peer.send(b"answer")
        assert await ours.read_exactly(6) == b"answer"
        with pytest.raises(OSError, match="writing was shut down") as caught:
            ours.write(b"x")
        assert caught.value.winerror == errors.RO_E_CLOSED
        peer.close()
        assert await ours.read() == b""
        await ours.aclose()


@pytest.mark.parametrize("half_close", HALF, ids=["end_writing", "output_stream.close"])
async def test_flush_behind_a_half_close_waits_for_the_queue(half_close: Callable[[StreamSocket], None]) -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        await clog(ours, 1 << 20)
        half_close(ours)
        flushing = asyncio.create_task(ours.flush())
        await asyncio.sleep(0)
        assert not flushing.done()
        data, end = await receive_ending(peer)
        assert (len(data), end) == (1 << 20, FIN)
        await flushing
        assert ours.counters.queued_bytes == 0


async def test_flush_behind_a_half_close_raises_what_went_wrong() -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        await clog(ours, 1 << 20)
        ours.end_writing()
        flushing = asyncio.create_task(ours.flush())
        await asyncio.sleep(0)
        peer.close()  # unread data: RST
        with pytest.raises(ConnectionError):
            await flushing
        with pytest.raises(ConnectionError):
            await ours.flush()


async def test_the_peer_ends_first_and_goes_on_reading() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"request")
        peer.shutdown(1)
        assert await ours.read_exactly(7) == b"request"
        assert await ours.read() == b""
        assert await ours.read() == b""
        assert ours.end_reason == EndReason.CLOSED_BY_PEER
        await ours.write(b"answer")
        await ours.aclose()
        assert await receive_ending(peer) == (b"answer", FIN)


async def test_closed_input_stream_does_not_end_the_connection() -> None:
    async with socket_and_peer() as (ours, peer):
        ours.input_stream.close()
        await ours.output_stream.write_async(b"still here")
        assert await receive(peer, 10) == b"still here"


async def test_reads_after_the_end_of_the_stream() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"rest")
        peer.shutdown(1)
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await ours.read_exactly(10)
        assert (caught.value.partial, caught.value.expected) == (b"rest", 10)
        ends: list[Awaitable[bytes]] = [ours.read(), ours.read_exactly(0)]
        assert [await end for end in ends] == [b"", b""]
        for call in (ours.read_exactly(1), ours.read_until(b"x")):
            with pytest.raises(asyncio.IncompleteReadError):
                await call
        assert [line async for line in ours.lines()] == []
        for options in (InputStreamOptions.NONE, InputStreamOptions.PARTIAL, InputStreamOptions.READ_AHEAD):
            result = await ours.input_stream.read_async(Buffer(4), 4, options)
            assert result.length == 0


async def test_errors_behind_a_reset_do_not_collect_their_callers() -> None:
    """An exception that is raised again and again would keep the frames of all who caught it."""
    async with socket_and_peer() as (ours, peer):
        reset(peer)
        for call in (ours.read, ours.flush):
            depths: list[int] = []
            for _ in range(3):
                with pytest.raises(ConnectionResetError) as caught:
                    await call()  # type: ignore[operator]
                depths.append(len(caught.traceback))
            assert len(set(depths)) == 1
