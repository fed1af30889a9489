from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.streams.scripted import ScriptedInput, ScriptedOutput, fails

from moorings import errors
from moorings.foundation.async_info import IAsyncOperation, IAsyncOperationWithProgress
from moorings.foundation.async_status import AsyncStatus
from moorings.streams import random_access
from moorings.streams.buffer import Buffer
from moorings.streams.data_reader import DataReader
from moorings.streams.data_writer import DataWriter
from moorings.streams.enums import InputStreamOptions
from moorings.streams.interfaces import IInputStream, IOutputStream, IRandomAccessStream
from moorings.streams.random_access import InMemoryRandomAccessStream, RandomAccessStream

if TYPE_CHECKING:
    from collections.abc import Callable

NONE = InputStreamOptions.NONE
RESET = errors.make(errors.WSAECONNRESET, "the peer of the test has gone")


async def read(stream: IInputStream, count: int) -> bytes:
    return bytes(await stream.read_async(Buffer(count), count, NONE))


async def test_writes_and_reads_share_a_position() -> None:
    with InMemoryRandomAccessStream() as stream:
        assert (stream.size, stream.position, stream.can_read, stream.can_write) == (0, 0, True, True)
        assert await stream.write_async(b"abcdef") == 6
        assert (stream.size, stream.position) == (6, 6)
        assert await read(stream, 3) == b""
        stream.seek(1)
        assert await read(stream, 2) == b"bc"
        assert await stream.write_async(memoryview(b"XY")) == 2
        assert stream.position == 5
        stream.seek(0)
        assert await read(stream, 100) == b"abcXYf"
        assert await stream.write_async(b"") == 0
        assert await stream.flush_async() is True


async def test_operations_have_ended_at_once() -> None:
    stream = InMemoryRandomAccessStream()
    write = stream.write_async(b"abc")
    assert isinstance(write, IAsyncOperationWithProgress)
    assert (write.status, write.get_results(), write.get()) == (AsyncStatus.COMPLETED, 3, 3)
    assert isinstance(stream.flush_async(), IAsyncOperation)
    stream.seek(0)
    buffer = Buffer(8)
    reading = stream.read_async(buffer, 2, InputStreamOptions.PARTIAL)
    assert reading.get_results() is buffer
    assert (bytes(buffer), buffer.length) == (b"ab", 2)


async def test_a_writable_object_is_filled() -> None:
    stream = InMemoryRandomAccessStream()
    await stream.write_async(b"abc")
    stream.seek(0)
    memory = bytearray(b"....")
    result = await stream.read_async(memory, 3, NONE)
    assert (type(result), bytes(result), bytes(memory)) == (Buffer, b"abc", b"abc.")


async def test_a_gap_is_filled_with_zeros() -> None:
    stream = InMemoryRandomAccessStream()
    stream.seek(3)
    assert await read(stream, 1) == b""
    await stream.write_async(b"")
    assert stream.size == 0
    await stream.write_async(b"a")
    stream.seek(0)
    assert await read(stream, 9) == b"\0\0\0a"


async def test_size_cuts_off_and_adds_zeros() -> None:
    stream = InMemoryRandomAccessStream()
    await stream.write_async(b"abcd")
    stream.size = 2
    assert (stream.size, stream.position) == (2, 4)
    stream.size = 4
    stream.seek(0)
    assert await read(stream, 9) == b"ab\0\0"


def test_numbers_are_unsigned_64_bit() -> None:
    stream = InMemoryRandomAccessStream()
    calls: list[Callable[[Any], object]] = [
        stream.seek,
        stream.get_input_stream_at,
        stream.get_output_stream_at,
        lambda value: setattr(stream, "size", value),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="negative"):
            call(-1)
        with pytest.raises(OverflowError):
            call(2**64)
        with pytest.raises(TypeError):
            call("1")
    stream.seek(2**64 - 1)
    assert stream.position == 2**64 - 1


def test_too_many_bytes() -> None:
    stream = InMemoryRandomAccessStream()
    with fails(errors.E_OUTOFMEMORY):
        stream.size = 2**31
    stream.seek(2**64 - 1)
    with fails(errors.E_OUTOFMEMORY):
        stream.write_async(b"a")
    assert stream.size == 0


@pytest.mark.parametrize(
    ("count", "kind"), [(5, OSError), (-1, ValueError), (2**32, OverflowError), ("1", TypeError), (None, TypeError)]
)
def test_bad_counts(count: Any, kind: type[Exception]) -> None:
    stream = InMemoryRandomAccessStream()
    with pytest.raises(kind) as caught:
        stream.read_async(Buffer(4), count, NONE)
    if kind is OSError:
        assert getattr(caught.value, "winerror", None) == errors.E_INVALIDARG


def test_bad_buffers() -> None:
    stream = InMemoryRandomAccessStream()
    for bad in (b"read-only", "text", [0]):
        with pytest.raises(TypeError):
            stream.read_async(bad, 1, NONE)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        stream.write_async("text")  # type: ignore[arg-type]
    for call in (lambda: stream.read_async(None, 0, NONE), lambda: stream.write_async(None)):  # type: ignore[arg-type]
        with fails(errors.E_INVALIDARG):
            call()


async def test_streams_over_the_same_bytes() -> None:
    stream = InMemoryRandomAccessStream()
    await stream.write_async(b"abcdef")
    clone, source, sink = stream.clone_stream(), stream.get_input_stream_at(2), stream.get_output_stream_at(4)
    assert isinstance(clone, IRandomAccessStream)
    assert clone.position == 0
    assert (isinstance(source, IInputStream), isinstance(source, IOutputStream)) == (True, False)
    assert (isinstance(sink, IInputStream), isinstance(sink, IOutputStream)) == (False, True)
    await sink.write_async(b"XYZ")
    assert await sink.flush_async() is True
    assert await read(source, 9) == b"cdXYZ"
    assert await read(clone, 9) == b"abcdXYZ"
    stream.close()
    assert clone.size == 7
    source.close()
    sink.close()
    for call in (lambda: source.read_async(Buffer(1), 1, NONE), lambda: sink.write_async(b""), sink.flush_async):
        with fails(errors.RO_E_CLOSED):
            call()
    clone.seek(0)
    assert await read(clone, 1) == b"a"


USES: dict[str, Callable[[InMemoryRandomAccessStream], object]] = {
    "size": lambda stream: stream.size,
    "set size": lambda stream: setattr(stream, "size", 1),
    "position": lambda stream: stream.position,
    "can_read": lambda stream: stream.can_read,
    "can_write": lambda stream: stream.can_write,
    "seek": lambda stream: stream.seek(0),
    "clone_stream": lambda stream: stream.clone_stream(),
    "get_input_stream_at": lambda stream: stream.get_input_stream_at(0),
    "get_output_stream_at": lambda stream: stream.get_output_stream_at(0),
    "read_async": lambda stream: stream.read_async(Buffer(1), 1, NONE),
    "write_async": lambda stream: stream.write_async(b"a"),
    "flush_async": lambda stream: stream.flush_async(),
}


@pytest.mark.parametrize("member", USES)
def test_closed_refuses(member: str) -> None:
    stream = InMemoryRandomAccessStream()
    stream.close()
    stream.close()
    with fails(errors.RO_E_CLOSED):
        USES[member](stream)


async def test_reader_and_writer_over_memory() -> None:
    stream = InMemoryRandomAccessStream()
    with DataWriter(stream.get_output_stream_at(0)) as writer:
        writer.write_uint32(7)
        writer.write_string("text")
        assert await writer.store_async() == 8
    with DataReader(stream) as reader:
        assert await reader.load_async(100) == 8
        assert (reader.read_uint32(), reader.read_string(4)) == (7, "text")
    with fails(errors.RO_E_CLOSED):
        stream.seek(0)


# -- copying ---------------------------------------------------------------------------------------------------------


async def test_copy_all() -> None:
    data = bytes(range(256)) * 1000
    source, target = InMemoryRandomAccessStream(), InMemoryRandomAccessStream()
    await source.write_async(data)
    source.seek(0)
    copy = RandomAccessStream.copy_async(source, target)
    assert isinstance(copy, IAsyncOperationWithProgress)
    steps: list[int] = []
    copy.progress = lambda _, value: steps.append(value)
    assert await copy == len(data)
    await asyncio.sleep(0)
    assert steps == [65536, 131072, 196608, 256000]
    target.seek(0)
    assert await read(target, len(data) + 1) == data


@pytest.mark.parametrize(("limit", "copied"), [(0, 0), (2, 2), (5, 5), (6, 6), (2**64 - 1, 6)])
async def test_copy_some(limit: int, copied: int) -> None:
    source, target = ScriptedInput(b"abc", b"def"), ScriptedOutput()
    assert await RandomAccessStream.copy_async(source, target, limit) == copied
    assert b"".join(target.writes) == b"abcdef"[:copied]
    assert (source.closed, target.closed, target.flushes) == (0, 0, 0)
    with pytest.warns(DeprecationWarning, match="copy_async"):
        rest = RandomAccessStream.copy_size_async(source, target, 100)
    assert await rest == 6 - copied


async def test_copy_passes_on_what_arrives_without_waiting_for_more() -> None:
    source, target = ScriptedInput(b"a", b"bc"), ScriptedOutput()
    await RandomAccessStream.copy_async(source, target)
    assert target.writes == [b"a", b"bc"]


async def test_copy_and_close() -> None:
    source, target = ScriptedInput(b"abc"), ScriptedOutput()
    assert await RandomAccessStream.copy_and_close_async(source, target) == 3
    assert (source.closed, target.closed, target.flushes) == (1, 1, 1)


async def test_short_writes_are_gone_on_with() -> None:
    source, target = ScriptedInput(b"abcd"), ScriptedOutput()
    target.accepts = 2
    assert await RandomAccessStream.copy_async(source, target) == 4
    assert target.writes == [b"ab", b"cd"]


@pytest.mark.parametrize("claim", [0, 9, -1, None])
async def test_nonsense_from_a_destination_is_an_error(claim: Any) -> None:
    class Nonsense(ScriptedOutput):
        async def write_async(self, buffer: Any, /) -> Any:
            return claim

    with fails(errors.E_FAIL):
        await RandomAccessStream.copy_async(ScriptedInput(b"abcd"), Nonsense())


@pytest.mark.parametrize("closes", [False, True])
async def test_a_failing_copy(closes: bool) -> None:
    copy = RandomAccessStream.copy_and_close_async if closes else RandomAccessStream.copy_async
    source, target = ScriptedInput(b"abc", error=RESET), ScriptedOutput()
    with pytest.raises(ConnectionResetError):
        await copy(source, target)
    assert target.writes == [b"abc"]
    assert (source.closed, target.closed) == ((1, 1) if closes else (0, 0))


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_a_cancelled_copy_closes_both(turns: int) -> None:
    source, target = ScriptedInput(*[b"abc"] * 100), ScriptedOutput()
    copy = RandomAccessStream.copy_and_close_async(source, target)
    for _ in range(turns):
        await asyncio.sleep(0)
    copy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copy
    await asyncio.sleep(0)
    assert copy.status == AsyncStatus.CANCELED
    assert (source.closed, target.closed) == (1, 1)


async def test_closing_both_survives_a_destination_that_fails_to_close() -> None:
    class Bad(ScriptedOutput):
        def close(self) -> None:
            raise RESET

    source = ScriptedInput(b"a")
    with pytest.raises(ConnectionResetError):
        await RandomAccessStream.copy_and_close_async(source, Bad())
    assert source.closed == 1


def test_a_plain_script_copies() -> None:
    source, target = ScriptedInput(b"abc"), ScriptedOutput()
    assert RandomAccessStream.copy_and_close_async(source, target).get() == 3
    assert (source.closed, target.closed) == (1, 1)


def test_arguments_of_a_copy() -> None:
    source, target = ScriptedInput(), ScriptedOutput()
    calls: list[Any] = [RandomAccessStream.copy_async, RandomAccessStream.copy_and_close_async]
    for call in calls:
        with pytest.raises(TypeError):
            call(target, source)
        with fails(errors.E_INVALIDARG):
            call(None, target)
        with fails(errors.E_INVALIDARG):
            call(source, None)
        with pytest.raises(TypeError):
            call(source)
    with pytest.raises(ValueError, match="negative"):
        RandomAccessStream.copy_async(source, target, -1)
    with pytest.raises(OverflowError):
        RandomAccessStream.copy_async(source, target, 2**64)
    with pytest.raises(TypeError, match="cannot create"):
        RandomAccessStream()
    assert random_access.COPY_SIZE == 65536
