"""Scripted streams play their script, and behave as byte streams do."""

from __future__ import annotations

import asyncio
import errno
import inspect
from typing import Any

import pytest
from tests.engine.pairs import turns

from moorings import Buffer, EndReason, errors
from moorings.engine.interface import ByteStream
from moorings.engine.tcp_stream import TcpStream
from moorings.foundation.background import background_home
from moorings.foundation.operation import OPERATION
from moorings.foundation.task_operation import start_operation
from moorings.testing.scripted import END, ScriptedStream

NONE, PARTIAL, READ_AHEAD = 0, 1, 2


async def read(stream: ScriptedStream, count: int, options: int = PARTIAL) -> bytes:
    return bytes(await stream.read(Buffer(count), count, options))


def reset() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, "reset")


@pytest.mark.parametrize("kind", [ScriptedStream, TcpStream])
async def test_every_member_of_the_interface_is_there(kind: type) -> None:
    members = [
        name for name, value in vars(ByteStream).items() if inspect.isfunction(value) and not name.startswith("_")
    ]
    assert len(members) > 15
    assert [name for name in members if not callable(getattr(kind, name, None))] == []
    stream = ScriptedStream()
    assert [name for name in ByteStream.__annotations__ if not hasattr(stream, name)] == []


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suspend", [False, True])
async def test_one_entry_is_one_receive_call(suspend: bool) -> None:
    stream = ScriptedStream([b"abc", b"de", END], suspend=suspend)
    assert [await read(stream, 10) for _ in range(4)] == [b"abc", b"de", b"", b""]
    assert stream.end_reason == EndReason.CLOSED_BY_PEER
    assert (stream.receive_calls, stream.bytes_received) == (2, 5)


async def test_reads_take_no_more_than_asked() -> None:
    stream = ScriptedStream([b"abcdef"])
    assert await read(stream, 2) == b"ab"
    assert stream.stash_size() == 0
    assert await read(stream, 2, READ_AHEAD) == b"cd"
    assert stream.stash_size() == 2
    assert await read(stream, 0) == b""
    assert await read(stream, 9) == b"ef"


async def test_full_reads_collect() -> None:
    stream = ScriptedStream([b"abc", b"def", b"g", END])
    assert await read(stream, 5, NONE) == b"abcde"
    assert await read(stream, 5, NONE) == b"fg"


async def test_silence_until_fed() -> None:
    stream = ScriptedStream()
    reads = [stream.read(Buffer(2), 2, NONE), stream.fill()]
    await turns(3)
    assert not any(operation.done() for operation in reads)
    stream.feed(b"a")
    stream.feed(b"bcd")
    assert bytes(await reads[0]) == b"ab"
    assert await reads[1] == 2
    assert stream.find_in_stash(b"d", 0) == 1
    stream.unread(b"AB")
    assert stream.take_stash(9) == b"ABcd"
    stream.feed(END)
    assert await stream.fill() == 0


async def test_bytes_before_a_failure_come_first_and_the_failure_stays() -> None:
    stream = ScriptedStream([b"abc", reset()])
    assert await read(stream, 9, NONE) == b"abc"
    for _ in range(2):
        with pytest.raises(ConnectionResetError) as caught:
            await read(stream, 9)
        assert caught.value.winerror == errors.WSAECONNRESET
    assert stream.end_reason == EndReason.RESET


async def test_reading_into_plain_memory() -> None:
    memory = bytearray(4)
    assert bytes(await ScriptedStream([b"abc"]).read(memory, 4, PARTIAL)) == b"abc"
    assert memory == b"abc\0"


async def test_progress_of_reads_and_writes() -> None:
    seen: list[Any] = []
    stream = ScriptedStream(sends=[1, 1])
    operation = stream.read(Buffer(4), 4, NONE)
    operation.progress = lambda _, value: seen.append(("read", value))
    stream.feed(b"ab")
    stream.feed(b"cd")
    await operation
    writing = stream.write(b"xyz", 3)
    writing.progress = lambda _, value: seen.append(("written", value))
    await writing
    await turns(2)
    assert seen == [("read", 2), ("read", 4), ("written", 1), ("written", 2)]


# -- writing ---------------------------------------------------------------------------------------------------------


async def test_writes_are_kept_piece_by_piece() -> None:
    stream = ScriptedStream(sends=[2, 1])
    operation = stream.write(b"abcd", 4)
    assert stream.send_log == []
    assert await operation == 4
    stream.write(b"ef", 2)
    assert await stream.flush() is True
    assert stream.send_log == [b"ab", b"c", b"d", b"ef"]
    assert stream.sent == b"abcdef"
    assert (stream.bytes_sent, stream.queued_bytes) == (6, 0)


@pytest.mark.parametrize("suspend", [False, True])
async def test_unawaited_writes_go_out_at_the_end_of_the_turn(suspend: bool) -> None:
    stream = ScriptedStream(suspend=suspend)
    stream.write(b"abc", 3)
    assert stream.sent == b""
    await turns(2)
    assert stream.sent == b"abc"


async def test_a_blocked_send_waits() -> None:
    stream = ScriptedStream(sends=[2, None])
    operation = stream.write(b"abcd", 4)
    flush = stream.flush()
    await turns(3)
    assert (operation.done(), stream.queued_bytes) == (False, 2)
    stream.let_send(1, None)
    await turns(3)
    assert not operation.done()
    stream.let_send()
    assert await operation == 4
    assert await flush is True
    assert stream.send_log == [b"ab", b"c", b"d"]


async def test_a_failed_send_stays() -> None:
    stream = ScriptedStream(sends=[1, reset()])
    first = stream.write(b"abc", 3)
    flush = stream.flush()
    for operation in (first, stream.write(b"late", 4)):
        with pytest.raises(ConnectionResetError):
            await operation
    assert await flush is False
    assert await stream.flush() is False
    assert stream.queued_bytes == 0


async def test_half_closing() -> None:
    stream = ScriptedStream(sends=[None])
    stream.write(b"abc", 3)
    stream.shut_writing()
    assert not stream.ended_writing
    with pytest.raises(OSError, match="shut down") as caught:
        await stream.write(b"late", 4)
    assert caught.value.winerror == errors.RO_E_CLOSED
    stream.let_send()
    assert stream.ended_writing
    stream.feed(b"answer")
    assert await read(stream, 9) == b"answer"


# -- cancelling and ending -------------------------------------------------------------------------------------------


async def test_cancelled_face_calls_are_withdrawn() -> None:
    stream = ScriptedStream(sends=[None])
    fill = stream.fill()
    fill.cancel()
    write = stream.write(b"abc", 3)
    write.face = True
    await turns(2)
    write.cancel()
    flush = stream.flush()
    flush.cancel()
    for operation in (fill, write, flush):
        with pytest.raises(asyncio.CancelledError):
            await operation
    stream.let_send()
    assert stream.sent == b"abc"
    assert stream.is_open()


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_cancelled_winrt_calls_take_the_stream_down(kind: str) -> None:
    stream = ScriptedStream(sends=[None])
    operation = stream.read(Buffer(1), 1, NONE) if kind == "read" else stream.write(b"a", 1)
    operation.cancel()
    with pytest.raises(OSError) as caught:
        await operation
    assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
    assert stream.is_released()


async def test_a_timed_out_read_takes_the_stream_down() -> None:
    stream = ScriptedStream()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await read(stream, 1)
    assert stream.is_released()


async def test_cancel_io_loses_nothing() -> None:
    stream = ScriptedStream([b"abc"], sends=[None])
    pending = [stream.read(Buffer(9), 9, NONE), stream.write(b"never", 5), stream.flush()]
    await turns(2)
    stream.cancel_io()
    for operation in pending:
        with pytest.raises(OSError) as caught:
            await operation
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
    assert await read(stream, 9) == b"abc"
    assert stream.queued_bytes == 0


async def test_closing() -> None:
    stream = ScriptedStream()
    pending = stream.read(Buffer(1), 1, NONE)
    write = stream.write(b"last", 4)
    waiting = stream.wait_closed()
    stream.close()
    stream.close()
    stream.abort()
    assert await write == 4
    assert await waiting is None
    assert await stream.wait_closed() is None
    assert (stream.sent, stream.ended_writing, stream.end_reason) == (b"last", True, EndReason.CLOSED_BY_US)
    with pytest.raises(OSError) as caught:
        await pending
    assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
    for late in (stream.read(Buffer(1), 1, NONE), stream.write(b"late", 4), stream.flush(), stream.fill()):
        with pytest.raises(OSError) as caught:
            await late
        assert caught.value.winerror == errors.RO_E_CLOSED


async def test_closing_with_a_blocked_queue_aborts() -> None:
    stream = ScriptedStream(sends=[None])
    write, flush = stream.write(b"lost", 4), stream.flush()
    stream.close()
    with pytest.raises(OSError) as caught:
        await write
    assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
    assert await flush is False
    assert (stream.end_reason, stream.ended_writing) == (EndReason.ABORTED, False)


async def test_cancelled_waiting_for_the_end_aborts() -> None:
    stream = ScriptedStream()
    waiting = stream.wait_closed()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert stream.end_reason == EndReason.ABORTED


async def test_detaching() -> None:
    stream = ScriptedStream([b"abcdef"])
    pending = stream.read(Buffer(9), 9, NONE)
    with pytest.raises(OSError, match="pending") as caught:
        stream.detach()
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    stream.cancel_io()
    with pytest.raises(OSError):
        await pending
    assert stream.detach() == (-1, b"abcdef", b"", b"")
    assert stream.end_reason == EndReason.DETACHED
    with pytest.raises(OSError) as caught:
        stream.detach()
    assert caught.value.winerror == errors.RO_E_CLOSED


def test_in_a_plain_script() -> None:
    home = background_home()

    async def make() -> ScriptedStream:
        return ScriptedStream([b"abc"], home=home)

    async def start(stream: ScriptedStream) -> Any:
        return [stream.read(Buffer(3), 3, NONE)]

    stream = start_operation(home, make(), OPERATION).get()
    (operation,) = start_operation(home, start(stream), OPERATION).get()
    assert bytes(operation.get()) == b"abc"
