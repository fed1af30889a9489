"""Checks about bytes on their way: order, splitting, sizes, back-pressure, both faces."""

from __future__ import annotations

import asyncio
import random
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

_NONE, _PARTIAL, _READ_AHEAD = 0, 1, 2
_SIZES = (0, 1, 2, 3, 63, 64, 65, 1000, 4096, 16384, 65535, 65536, 65537, 300000)


async def all_sizes_arrive_in_order(writer: StreamLike, reader: StreamLike) -> None:
    """Writes of many sizes, awaited and not, through both faces; reads of many sizes, through both faces."""
    chance = random.Random(4711)
    pieces = [chance.randbytes(size) for size in (*_SIZES, *chance.sample(_SIZES, 10))]

    async def write() -> list[object]:
        results: list[object] = []
        for number, piece in enumerate(pieces):
            operation = writer.write(piece) if number % 2 else writer.output_stream.write_async(piece)
            if number % 3 == 0:
                results.append(await operation)
        await writer.flush()
        results.append(await writer.output_stream.flush_async())
        writer.close()
        return results

    writing = asyncio.ensure_future(write())
    received = bytearray()
    while True:
        size = chance.choice(_SIZES[1:])
        if chance.random() < 0.5:
            piece = await reader.read(size)
        else:
            options = chance.choice((_PARTIAL, _PARTIAL | _READ_AHEAD))
            piece = bytes(await reader.input_stream.read_async(Buffer(size), size, options))  # type: ignore[arg-type]
        expect(len(piece) <= size, f"a read of {size} bytes gave {len(piece)}")
        if not piece:
            break
        received += piece
    expect_equal(bytes(received), b"".join(pieces), "the bytes that arrived")
    expect_equal(await writing, [*map(len, pieces[::3]), True], "the results of the writes and of flush_async")
    expect_equal(reader.end_reason, EndReason.CLOSED_BY_PEER, "the reader's end_reason")
    expect_equal(writer.end_reason, EndReason.CLOSED_BY_US, "the writer's end_reason")


async def one_byte_at_a_time(writer: StreamLike, reader: StreamLike) -> None:
    """Each byte its own write, each byte its own read."""
    data = bytes(range(100))
    for number, byte in enumerate(data):
        await writer.write(bytes([byte]))
        piece = await reader.read(1) if number % 2 else await reader.read_exactly(1)
        expect_equal(piece, bytes([byte]), "one byte")
    for byte in data:
        writer.write(bytes([byte]))
    await writer.flush()
    expect_equal(b"".join([await reader.read(1) for _ in data]), data, "bytes read one by one")


async def split_anywhere(writer: StreamLike, reader: StreamLike) -> None:
    """A message means the same wherever the network cuts it."""
    message = b"first\r\nsecond\nthird--end"
    for cut in range(len(message) + 1):
        await writer.write(message[:cut])
        reading = asyncio.ensure_future(reader.read_until(b"\r\n"))
        await turns(2)
        await writer.write(message[cut:])
        expect_equal(await reading, b"first\r\n", f"read_until, cut at {cut}")
        expect_equal(await reader.read_exactly(7), b"second\n", f"read_exactly, cut at {cut}")
        expect_equal(await reader.read_until(b"--end"), b"third--end", f"read_until, cut at {cut}")


async def lines_of_any_ending(writer: StreamLike, reader: StreamLike) -> None:
    """`lines` splits at line feeds, drops line ends, and gives a last line without one."""
    for byte in b"one\ntwo\r\n\n\r\nfive\rfive\nlast":
        writer.write(bytes([byte]))
        await turns(1)
    writer.close()
    found = [line async for line in reader.lines()]
    expect_equal(found, [b"one", b"two", b"", b"", b"five\rfive", b"last"], "lines")


async def too_long_lines_are_refused_and_kept(writer: StreamLike, reader: StreamLike) -> None:
    """`read_until` gives up at its limit and leaves the bytes for the next read."""
    await writer.write(b"x" * 100 + b"\n")
    try:
        await reader.read_until(b"\n", limit=50)
    except asyncio.LimitOverrunError:
        pass
    else:
        raise AssertionError("read_until found nothing within its limit and said nothing")
    expect_equal(await reader.read_until(b"\n", limit=101), b"x" * 100 + b"\n", "the line, with a higher limit")


async def winrt_reads_keep_their_options(writer: StreamLike, reader: StreamLike) -> None:
    """NONE waits for all, PARTIAL for some, reading nothing for nothing."""
    stream: Any = reader.input_stream
    whole = asyncio.ensure_future(_read_async(reader, 6, _NONE))
    await writer.write(b"abc")
    expect(await is_waiting(whole), "a read of 6 bytes with NONE ended after 3")
    await writer.write(b"def")
    expect_equal(await whole, b"abcdef", "a read with NONE")
    expect_equal(await _read_async(reader, 0, _NONE), b"", "a read of 0 bytes")
    memory = bytearray(8)
    reading = stream.read_async(memory, 8, _PARTIAL)
    await writer.write(b"xyz")
    expect_equal(bytes(await reading), b"xyz", "a read into a bytearray")
    expect_equal(bytes(memory[:3]), b"xyz", "the bytearray that was read into")
    with expect_error(errors.E_INVALIDARG, "a count beyond the capacity"):
        stream.read_async(Buffer(1), 2, _NONE)
    expect_equal(reader.end_reason, EndReason.OPEN, "the end_reason of a connection that lives")


async def overlapping_reads_keep_their_order(writer: StreamLike, reader: StreamLike) -> None:
    """Several WinRT reads may wait at once; they are served in call order."""
    reads = [asyncio.ensure_future(_read_async(reader, count, _NONE)) for count in (1, 2, 3)]
    await turns(1)
    await writer.write(b"abbccc")
    expect_equal([await read for read in reads], [b"a", b"bb", b"ccc"], "overlapping reads")


async def _read_async(stream: StreamLike, count: int, options: int) -> bytes:
    return bytes(await stream.input_stream.read_async(Buffer(count), count, options))  # type: ignore[arg-type]


async def refused_calls_lose_nothing(writer: StreamLike, reader: StreamLike) -> None:
    """Arguments of the wrong kind are refused at once, and the connection is as it was."""
    for call in (
        lambda: writer.write("text"),
        lambda: writer.write(None),
        lambda: writer.output_stream.write_async("text"),  # type: ignore[arg-type]
        lambda: reader.input_stream.read_async(b"read-only", 1, _NONE),  # type: ignore[arg-type]
    ):
        try:
            call()
        except TypeError:
            continue
        raise AssertionError("an argument of the wrong type was taken")
    for wrong in (reader.read(-1), reader.read_exactly(-1), reader.read_until(b"")):
        try:
            await wrong
        except ValueError:
            continue
        raise AssertionError("a wrong value was taken")
    await writer.write(b"as before")
    expect_equal(await reader.read(), b"as before", "what was written afterwards")


async def silence_lets_the_writer_wait(writer: StreamLike, reader: StreamLike) -> None:
    """Nobody reads: the writer waits, nothing piles up at the reader, and nothing is lost once it reads."""
    size = await clog(writer)
    waiting = asyncio.ensure_future(writer.flush())
    expect(await is_waiting(waiting), "flush ended although the connection was full")
    expect_equal(reader.counters.bytes_received, 0, "the bytes that were received without a read")
    expect_equal(reader.counters.unread_bytes, 0, "the bytes that are kept without a read")
    writer.close()
    received = 0
    while piece := await reader.read(1 << 20):
        received += len(piece)
        expect(reader.counters.unread_bytes <= 1 << 20, "the reader keeps more than a read asks for")
    await waiting
    expect_equal(received, size, "the number of bytes that arrived")


async def full_queue_refuses(writer: StreamLike, reader: StreamLike) -> None:
    """Writes that nobody awaits are bounded: beyond the limit they fail, are counted, and the rest arrives."""
    size = await clog(writer)
    writer.limits.write_queue_limit = size
    refused = writer.output_stream.write_async(bytes(size))
    with expect_error(errors.WSAENOBUFS, "write_async into a full queue"):
        await refused
    with expect_error(errors.WSAENOBUFS, "a write into a full queue, which nobody awaits"):
        writer.write(bytes(size))
    expect_equal(writer.counters.writes_refused, 2, "the counter of refused writes")
    expect(writer.counters.queued_bytes <= size, "more is queued than the limit allows")
    writer.close()
    expect_equal(len(await read_all(reader)), size, "the number of bytes that arrived")


async def mutable_data_may_change_after_write(writer: StreamLike, reader: StreamLike) -> None:
    """The Python face copies mutable data."""
    data = bytearray(b"before")
    writer.write(data)
    writer.write(memoryview(data)[:3])
    data[:] = b"after!"
    await writer.flush()
    expect_equal(await reader.read_exactly(9), b"beforebef", "what was written")


async def batches_go_out_together(writer: StreamLike, reader: StreamLike) -> None:
    """A loop of writes that nobody awaits costs few send calls, and so does flush_async behind it."""
    before = writer.counters.send_calls
    for _ in range(100):
        writer.output_stream.write_async(b"x" * 100)
    expect_equal(await writer.output_stream.flush_async(), True, "the result of flush_async")
    calls = writer.counters.send_calls - before
    expect(calls <= 3, f"100 small writes and a flush took {calls} send calls")
    expect_equal(await reader.read_exactly(10000), b"x" * 10000, "what was written")


async def both_directions_at_once(one: StreamLike, other: StreamLike) -> None:
    """More than the connection holds, in both directions at the same time."""
    chance = random.Random(42)
    data = [chance.randbytes(3000000), chance.randbytes(3000000)]

    async def send(stream: StreamLike, mine: bytes) -> None:
        for start in range(0, len(mine), 100000):
            await stream.write(mine[start : start + 100000])

    async with asyncio.TaskGroup() as group:
        group.create_task(send(one, data[0]))
        group.create_task(send(other, data[1]))
        first = group.create_task(one.read_exactly(len(data[1])))
        second = group.create_task(other.read_exactly(len(data[0])))
    expect_equal(first.result(), data[1], "what the first end received")
    expect_equal(second.result(), data[0], "what the second end received")


async def echo(one: StreamLike, other: StreamLike) -> None:
    """Ask and answer, many times."""

    async def answer() -> None:
        async for line in other.lines():
            await other.write(line.upper() + b"\n")

    answering = asyncio.ensure_future(answer())
    for number in range(200):
        await one.write(b"message %d\n" % number)
        expect_equal(await one.read_until(), b"MESSAGE %d\n" % number, "the answer")
    one.close()
    await answering
    await until(lambda: other.end_reason == EndReason.CLOSED_BY_PEER)
