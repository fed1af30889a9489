"""Checks about misuse and cancelling: who may wait at the same time, and what a cancelled call leaves behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.interface import EndReason
from moorings.streams.buffer import Buffer
from moorings.testing.check_support import (
    StreamLike,
    clog,
    expect,
    expect_equal,
    expect_error,
    is_waiting,
    read_all,
    turns,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

_NONE = 0


async def _first_line(stream: StreamLike) -> bytes:
    async for line in stream.lines():
        return line
    return b""


_READS: tuple[tuple[str, Callable[[StreamLike], Coroutine[Any, Any, bytes]]], ...] = (
    ("read", lambda stream: stream.read()),
    ("read_exactly", lambda stream: stream.read_exactly(100)),
    ("read_until", lambda stream: stream.read_until(b"\n")),
    ("lines", _first_line),
)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    expect(task.cancelled(), f"a cancelled task ended with {task!r}")


async def second_reader_is_refused(one: StreamLike, other: StreamLike) -> None:
    """Two Python reads at once are a mistake: the second one is told, the first one is not hurt."""
    for what, read in _READS:
        reading = asyncio.ensure_future(one.read(5))
        expect(await is_waiting(reading), "a read ended before there was anything to read")
        with expect_error(errors.E_ILLEGAL_METHOD_CALL, f"{what} while another read is pending"):
            await read(one)
        await other.write(b"hello")
        expect_equal(await reading, b"hello", "the read that was first")


async def cancelled_reads_take_nothing(one: StreamLike, other: StreamLike) -> None:
    """Cancelled while it waits, with nothing there and with a part there: the next read gets every byte."""
    for what, read in _READS:
        reading = asyncio.ensure_future(read(one))
        expect(await is_waiting(reading), f"{what} ended before there was anything to read")
        await _cancel(reading)
        if what != "read":
            reading = asyncio.ensure_future(read(one))
            await other.write(b"part")
            expect(await is_waiting(reading), f"{what} ended with a part of what it waits for")
            await _cancel(reading)
        await other.write(b" and rest")
        wanted = b" and rest" if what == "read" else b"part and rest"
        expect_equal(await one.read_exactly(len(wanted)), wanted, f"what was read after a cancelled {what}")
    expect_equal(one.end_reason, EndReason.OPEN, "the end_reason of a connection that lives")


async def read_timeouts_keep_the_connection(one: StreamLike, other: StreamLike) -> None:
    """`asyncio.timeout` and `wait_for` around Python reads, and `shield` around a write."""
    for _ in range(2):
        try:
            async with asyncio.timeout(0):
                await one.read()
        except TimeoutError:
            pass
        else:
            raise AssertionError("asyncio.timeout(0) did not fire")
    try:
        await asyncio.wait_for(one.read_exactly(3), 0.001)
    except TimeoutError:
        pass
    else:
        raise AssertionError("asyncio.wait_for did not fire")
    await other.write(b"abc")
    expect_equal(await one.read_exactly(3), b"abc", "what was read after the time-outs")
    expect_equal(await asyncio.shield(one.write(b"def")), 3, "a shielded write")
    first: Awaitable[int] = one.write(b"g")
    second: Awaitable[int] = one.write(b"hi")
    expect_equal(await asyncio.gather(first, second), [1, 2], "gathered writes")
    expect_equal(await other.read_exactly(6), b"defghi", "what was written")


async def cancelled_writes_stay_queued(one: StreamLike, other: StreamLike) -> None:
    """A cancelled Python write may have been sent, so it is sent; each byte exactly once."""
    size = await clog(one)
    for number in range(3):
        writing = asyncio.ensure_future(one.write(b"piece %d," % number))
        expect(await is_waiting(writing), "a write into a full connection ended")
        await _cancel(writing)
    flushing = asyncio.ensure_future(one.flush())
    expect(await is_waiting(flushing), "a flush of a full connection ended")
    await _cancel(flushing)
    one.write(b"last")
    one.close()
    received = await read_all(other)
    expect_equal(received[size:], b"piece 0,piece 1,piece 2,last", "the end of what arrived")


async def cancelled_winrt_read_breaks_the_connection(one: StreamLike, other: StreamLike) -> None:
    """`op.cancel()` on a read_async ends it in ERROR and takes the connection down: FIN where nothing is open."""
    operation: Any = one.input_stream.read_async(Buffer(1), 1, _NONE)  # type: ignore[arg-type]
    operation.cancel()
    with expect_error(errors.ERROR_OPERATION_ABORTED, "a cancelled read_async"):
        await operation
    expect_equal(operation.status.name, "ERROR", "the status of a cancelled read_async")
    with expect_error(errors.RO_E_CLOSED, "a read after a cancelled read_async"):
        await one.read()
    expect_equal(await other.read(), b"", "what the other end reads")


async def cancelled_winrt_write_breaks_the_connection(one: StreamLike, other: StreamLike) -> None:
    """The same for write_async: with data unsent the peer sees a reset."""
    await clog(one)
    operation: Any = one.output_stream.write_async(b"never")
    operation.cancel()
    with expect_error(errors.ERROR_OPERATION_ABORTED, "a cancelled write_async"):
        await operation
    with expect_error(errors.WSAECONNRESET, "reading up to a reset", ConnectionResetError):
        await read_all(other)


async def timed_out_winrt_read_breaks_the_connection(one: StreamLike, other: StreamLike) -> None:
    """A cancelled awaiting task has the same effect, and ends in CancelledError, so that time-outs work."""
    try:
        async with asyncio.timeout(0.001):
            await one.input_stream.read_async(Buffer(1), 1, _NONE)  # type: ignore[arg-type]
    except TimeoutError:
        pass
    else:
        raise AssertionError("asyncio.timeout did not fire")
    with expect_error(errors.RO_E_CLOSED, "a read after a cancelled read_async"):
        await one.read()
    expect_equal(await other.read(), b"", "what the other end reads")


async def cancel_io_keeps_the_connection(one: StreamLike, other: StreamLike) -> None:
    """`cancel_io_async` ends what is pending in ERROR, loses no byte, and the connection goes on."""
    pending: Any = one.input_stream.read_async(Buffer(10), 10, _NONE)  # type: ignore[arg-type]
    await other.write(b"abc")
    await turns()
    size = await clog(one)
    waiting = one.output_stream.write_async(b"never")
    await one.cancel_io_async()
    for what, operation in (("read_async", pending), ("write_async", waiting)):
        with expect_error(errors.ERROR_OPERATION_ABORTED, f"a {what} pending at cancel_io_async()"):
            await operation
        expect_equal(operation.status.name, "ERROR", f"the status of that {what}")
    expect_equal(await one.read_exactly(3), b"abc", "the bytes that the ended read had taken")
    one.write(b"last")
    one.close()
    received = await read_all(other)
    expect_equal(len(received), size + 4, "the number of bytes that arrived")
    expect_equal(received[size:], b"last", "the end of what arrived")
