"""Checks about endings: closing once and twice, half-closing, resets, truncation, silence, cancelled closing."""

from __future__ import annotations

import asyncio
from typing import Any

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
    until,
)

_NONE = 0
_SHORT = 0.02


async def closing_twice_does_nothing(one: StreamLike, other: StreamLike) -> None:
    """`close`, `aclose` and `abort` may follow each other in any order and number."""
    one.close()
    one.close()
    await one.aclose()
    one.abort()
    await one.aclose()
    expect_equal(one.end_reason, EndReason.CLOSED_BY_US, "the end_reason of the closed end")
    expect_equal(await other.read(), b"", "what the other end reads")
    other.abort()
    other.abort()
    other.close()
    await other.aclose()


async def closed_objects_refuse_everything(one: StreamLike, other: StreamLike) -> None:
    """After `close` every member that moves bytes fails with RO_E_CLOSED; what only tells goes on telling."""
    inputs: Any = one.input_stream
    outputs: Any = one.output_stream
    one.close()
    for what, call in (
        ("read", one.read),
        ("read_exactly", lambda: one.read_exactly(1)),
        ("read_until", one.read_until),
        ("flush", one.flush),
    ):
        with expect_error(errors.RO_E_CLOSED, f"{what} after close()"):
            await call()
    for what, member in (
        ("write", lambda: one.write(b"late")),
        ("input_stream", lambda: one.input_stream),
        ("output_stream", lambda: one.output_stream),
        ("read_async", lambda: inputs.read_async(Buffer(1), 1, _NONE)),
        ("write_async", lambda: outputs.write_async(b"late")),
        ("flush_async", outputs.flush_async),
    ):
        with expect_error(errors.RO_E_CLOSED, f"{what} after close()"):
            member()
    expect_equal(one.counters.queued_bytes, 0, "the bytes queued after the end")
    expect_equal(await other.read(), b"", "what the other end reads")


async def close_fails_pending_reads(one: StreamLike, other: StreamLike) -> None:
    """A reader of the closed end is told, through both faces."""
    operation = one.input_stream.read_async(Buffer(1), 1, _NONE)  # type: ignore[arg-type]
    one.close()
    with expect_error(errors.ERROR_OPERATION_ABORTED, "a read_async pending at close()"):
        await operation
    reading = asyncio.ensure_future(other.read())
    expect_equal(await reading, b"", "what the other end reads")
    reading = asyncio.ensure_future(other.read_exactly(1))
    try:
        await reading
    except asyncio.IncompleteReadError:
        pass
    else:
        raise AssertionError("read_exactly gave a byte that nobody sent")


async def close_fails_a_pending_face_read(one: StreamLike, other: StreamLike) -> None:
    """The same for the Python face."""
    reading = asyncio.ensure_future(one.read())
    expect(await is_waiting(reading), "a read ended before there was anything to read")
    one.close()
    with expect_error(errors.ERROR_OPERATION_ABORTED, "a read pending at close()"):
        await reading
    expect_equal(await other.read(), b"", "what the other end reads")


async def close_sends_what_was_written(one: StreamLike, other: StreamLike) -> None:
    """`close` loses nothing that was handed over before, although nobody awaited it."""
    data = bytes(1000000)
    one.write(data)
    one.output_stream.write_async(b"last")
    one.close()
    expect_equal(await read_all(other), data + b"last", "what arrived before the end")
    expect_equal(other.end_reason, EndReason.CLOSED_BY_PEER, "the end_reason of the other end")


async def async_with_closes(one: StreamLike, other: StreamLike) -> None:
    """`async with` closes gracefully, also when an exception leaves it."""
    async with other:
        try:
            async with one:
                one.write(b"last words")
                raise LookupError("from the block")
        except LookupError:
            pass
        expect_equal(await read_all(other), b"last words", "what arrived before the end")
    with expect_error(errors.RO_E_CLOSED, "a read after 'async with'"):
        await other.read()


async def reads_after_the_end(one: StreamLike, other: StreamLike) -> None:
    """The end of the stream is told again and again, each member in its own way."""
    one.close()
    for _ in range(3):
        expect_equal(await other.read(), b"", "read at the end")
        expect_equal(bytes(await other.input_stream.read_async(Buffer(5), 5, _NONE)), b"", "read_async at the end")  # type: ignore[arg-type]
        expect_equal([line async for line in other.lines()], [], "lines at the end")
        for what, reading in (("read_exactly", other.read_exactly(1)), ("read_until", other.read_until())):
            try:
                await reading
            except asyncio.IncompleteReadError as error:
                expect_equal(error.partial, b"", f"the partial bytes of {what}")
            else:
                raise AssertionError(f"{what} at the end of the stream gave something")


async def truncated_messages_are_shown(one: StreamLike, other: StreamLike) -> None:
    """The stream ends within a message: the reader is told, and gets what came."""
    await one.write(b"abc")
    reading = asyncio.ensure_future(other.read_exactly(10))
    expect(await is_waiting(reading), "read_exactly(10) ended after 3 bytes")
    one.close()
    try:
        await reading
    except asyncio.IncompleteReadError as error:
        expect_equal((error.partial, error.expected), (b"abc", 10), "what read_exactly tells")
    else:
        raise AssertionError("read_exactly(10) gave 3 bytes")
    expect_equal(await other.read(), b"", "a read behind it")


async def truncated_full_reads_are_short(one: StreamLike, other: StreamLike) -> None:
    """A read_async with NONE that is shorter than asked means the end."""
    one.write(b"abc")
    one.close()
    result = await other.input_stream.read_async(Buffer(10), 10, _NONE)  # type: ignore[arg-type]
    expect_equal(bytes(result), b"abc", "a full read at the end")


async def half_close_leaves_the_other_direction(one: StreamLike, other: StreamLike) -> None:
    """After `end_writing` the peer reads the end, and may still answer."""
    data = bytes(500000)
    one.write(data)
    one.end_writing()
    with expect_error(errors.RO_E_CLOSED, "a write after end_writing()"):
        await one.write(b"late")
    expect_equal(await read_all(other), data, "what arrived before the end")
    await other.write(b"answer")
    expect_equal(await one.read_exactly(6), b"answer", "what was answered")
    other.end_writing()
    expect_equal(await one.read(), b"", "the end of the answer")
    await one.aclose()
    await other.aclose()
    with expect_error(errors.RO_E_CLOSED, "end_writing after aclose()"):
        one.end_writing()


async def closing_the_output_stream_half_closes(one: StreamLike, other: StreamLike) -> None:
    """The WinRT way of `end_writing`; a second time does nothing."""
    one.output_stream.write_async(b"last")
    one.output_stream.close()
    one.output_stream.close()
    expect_equal(await read_all(other), b"last", "what arrived before the end")
    await other.write(b"answer")
    expect_equal(await one.read(), b"answer", "what was answered")


async def full_connection_half_closes_behind_the_queue(one: StreamLike, other: StreamLike) -> None:
    """The end comes behind everything that was written, however long that takes."""
    size = await clog(one)
    one.end_writing()
    expect_equal(len(await read_all(other)), size, "the number of bytes before the end")
    await other.write(b"answer")
    expect_equal(await one.read(), b"answer", "what was answered")


async def silent_peer_cannot_hold_close(one: StreamLike, other: StreamLike) -> None:
    """The peer reads nothing and says nothing: closing ends at its deadline, and lost data looks like a reset."""
    await clog(one)
    one.limits.close_timeout = _SHORT
    waiting = asyncio.ensure_future(one.flush())
    await turns()
    await one.aclose()
    expect_equal(one.end_reason, EndReason.ABORTED, "the end_reason after the deadline")
    with expect_error(errors.ERROR_OPERATION_ABORTED, "a flush that could not be done"):
        await waiting
    await _expect_reset(other)


async def silent_peer_does_not_matter_without_a_queue(one: StreamLike, other: StreamLike) -> None:
    """Nothing is queued: closing has nothing to wait for."""
    await one.write(b"unread")
    await one.aclose()
    expect_equal(await read_all(other), b"unread", "what arrived before the end")


async def cancelled_close_still_closes(one: StreamLike, other: StreamLike) -> None:
    """A task that is cancelled while it closes leaves a closed object and nothing else."""
    await clog(one)
    closing = asyncio.ensure_future(one.aclose())
    expect(await is_waiting(closing), "closing a full connection did not wait")
    closing.cancel()
    try:
        await closing
    except asyncio.CancelledError:
        pass
    else:
        raise AssertionError("a cancelled aclose() ended as if nothing had happened")
    expect_equal(one.end_reason, EndReason.ABORTED, "the end_reason after a cancelled close")
    await one.aclose()
    await _expect_reset(other)


async def close_in_a_cancelled_task(one: StreamLike, other: StreamLike) -> None:
    """Cancelled before it began to wait: closed all the same."""

    async def work() -> None:
        async with one:
            await asyncio.Event().wait()

    working = asyncio.ensure_future(work())
    expect(await is_waiting(working), "the task did not wait")
    working.cancel()
    await asyncio.wait([working])
    expect(working.cancelled(), "the task was not cancelled")
    with expect_error(errors.RO_E_CLOSED, "a read after the end"):
        await one.read()
    expect_equal(await other.read(), b"", "what the other end reads")


async def abort_resets(one: StreamLike, other: StreamLike) -> None:
    """`abort` waits for nothing, fails what is pending, and the peer is told."""
    await clog(one)
    flush = asyncio.ensure_future(one.flush())
    read = asyncio.ensure_future(one.read())
    expect(await is_waiting(flush) and await is_waiting(read), "nothing was pending")
    one.abort()
    for what, task in (("flush", flush), ("read", read)):
        with expect_error(errors.ERROR_OPERATION_ABORTED, f"a {what} pending at abort()"):
            await task
    expect_equal(one.end_reason, EndReason.ABORTED, "the end_reason after abort()")
    expect_equal(one.counters.queued_bytes, 0, "the bytes queued after the end")
    await _expect_reset(other)


async def reset_is_told_to_everybody(one: StreamLike, other: StreamLike) -> None:
    """A reset fails reads and writes, pending and to come, with its own error; closing is quiet."""
    reading = asyncio.ensure_future(other.read())
    expect(await is_waiting(reading), "a read ended before there was anything to read")
    one.abort()
    with expect_error(errors.WSAECONNRESET, "the pending read", ConnectionResetError):
        await reading
    with expect_error(errors.WSAECONNRESET, "the next read", ConnectionResetError):
        await other.read()
    with expect_error(errors.WSAECONNRESET, "the next write", ConnectionResetError):
        await other.write(b"late")
    with expect_error(errors.WSAECONNRESET, "the next flush", ConnectionResetError):
        await other.flush()
    expect_equal(await other.output_stream.flush_async(), False, "the result of flush_async")
    expect_equal(other.end_reason, EndReason.RESET, "the end_reason after a reset")
    await other.aclose()


async def bytes_before_a_reset_are_delivered(one: StreamLike, other: StreamLike) -> None:
    """What arrived before the reset can be read; then the error comes."""
    await one.write(b"last words")
    reading = asyncio.ensure_future(other.read_exactly(100))
    await until(lambda: other.counters.bytes_received == 10)
    one.abort()
    with expect_error(errors.WSAECONNRESET, "the read that could not be done", ConnectionResetError):
        await reading
    expect_equal(await other.read(), b"last words", "what had arrived")
    with expect_error(errors.WSAECONNRESET, "the read behind it", ConnectionResetError):
        await other.read()


async def unread_data_at_close_resets(one: StreamLike, other: StreamLike) -> None:
    """Closing with received data left unread tells the peer that it was not heard out."""
    await other.write(b"never read")
    await one.write(b"last words")
    expect_equal(await other.read_exactly(10), b"last words", "what arrived before the end")
    await one.aclose()
    await _expect_reset(other)


async def _expect_reset(stream: StreamLike) -> None:
    """The stream, read to its end, must not look as if it had ended well."""
    with expect_error(errors.WSAECONNRESET, "reading up to a reset", ConnectionResetError):
        while await stream.read(1 << 20):
            pass
    expect_equal(stream.end_reason, EndReason.RESET, "the end_reason after a reset")
