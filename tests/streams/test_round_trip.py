"""Whatever a DataWriter writes, a DataReader reads, however the bytes are cut on their way."""

from __future__ import annotations

import asyncio
import calendar
import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.streams.scripted import ScriptedInput, ScriptedOutput, ShortWayInput

from moorings.streams.data_reader import DataReader
from moorings.streams.data_writer import DataWriter
from moorings.streams.enums import ByteOrder, InputStreamOptions, UnicodeEncoding
from moorings.streams.random_access import InMemoryRandomAccessStream

SIZES = {
    "boolean": 1,
    "byte": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "single": 4,
    "double": 8,
    "guid": 16,
    "date_time": 8,
    "time_span": 8,
}
LONGEST = (2**63 - 1) // 10


class Value(NamedTuple):
    kind: str
    content: Any
    order: ByteOrder
    encoding: UnicodeEncoding


CONTENTS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "byte": st.integers(0, 255),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "single": st.floats(width=32),
    "double": st.floats(),
    "guid": st.uuids(),
    "date_time": st.datetimes(timezones=st.just(UTC)),
    "time_span": st.integers(-LONGEST, LONGEST).map(lambda number: timedelta(microseconds=number)),
    "string": st.text(),
    "bytes": st.binary(),
    "buffer": st.binary(max_size=300),
    "struct": st.tuples(st.integers(0, 255), st.integers(-(2**31), 2**31 - 1), st.booleans()),
}
values = st.sampled_from(sorted(CONTENTS)).flatmap(
    lambda kind: st.builds(
        Value, st.just(kind), CONTENTS[kind], st.sampled_from(ByteOrder), st.sampled_from(UnicodeEncoding)
    )
)


def write(writer: DataWriter, value: Value) -> tuple[int, int]:
    """Write one value; the number of bytes, and of code units for text."""
    before = writer.unstored_buffer_length
    writer.byte_order = value.order
    writer.unicode_encoding = value.encoding
    units = 0
    if value.kind == "struct":
        writer.write_struct("Bi?", *value.content)
    elif value.kind == "string":
        units = writer.measure_string(value.content)
        assert writer.write_string(value.content) == units
    else:
        getattr(writer, f"write_{value.kind}")(value.content)
    size = writer.unstored_buffer_length - before
    assert size == SIZES.get(value.kind, size)
    return size, units


def read(reader: DataReader, value: Value, size: int, units: int) -> Any:
    reader.byte_order = value.order
    reader.unicode_encoding = value.encoding
    if value.kind == "struct":
        return reader.read_struct("Bi?")
    if value.kind == "string":
        return reader.read_string(units)
    if value.kind == "buffer":
        return bytes(reader.read_buffer(size))
    if value.kind == "bytes":
        target = bytearray(size)
        reader.read_bytes(target)
        return bytes(target)
    return getattr(reader, f"read_{value.kind}")()


def same(first: Any, second: Any) -> bool:
    return bool(first == second) or (isinstance(first, float) and math.isnan(first) and math.isnan(second))


class Cuts:
    """Random sizes, for as long as they are asked for."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.at = 0

    def next(self) -> int:
        self.at += 1
        return self.sizes[self.at % len(self.sizes)]


async def trip(contents: list[Value], make: Any, arrivals: Cuts, loads: Cuts, options: InputStreamOptions) -> None:
    sink = ScriptedOutput()
    lengths: list[tuple[int, int]] = []
    with DataWriter(sink) as writer:
        for value in contents:
            lengths.append(write(writer, value))
            if loads.next() % 3 == 0:
                await writer.store_async()
        await writer.store_async()
    data = b"".join(sink.writes)
    chunks = []
    while data:
        size = arrivals.next()
        chunks.append(data[:size])
        data = data[size:]
    with DataReader(make(*chunks, b"")) as reader:
        reader.input_stream_options = options
        for value, (size, units) in zip(contents, lengths, strict=True):
            while reader.unconsumed_buffer_length < size:
                assert await reader.load_async(loads.next()) > 0
            assert same(read(reader, value, size, units), value.content)
        assert reader.unconsumed_buffer_length == 0


cuts = st.lists(st.integers(1, 40), min_size=1, max_size=20).map(Cuts)


@pytest.mark.parametrize("make", [ScriptedInput, ShortWayInput])
@settings(deadline=None, max_examples=60)
@given(
    contents=st.lists(values, max_size=12),
    arrivals=cuts,
    loads=cuts,
    options=st.sampled_from([InputStreamOptions.NONE, InputStreamOptions.PARTIAL]),
)
def test_any_values_however_cut(
    make: Any, contents: list[Value], arrivals: Cuts, loads: Cuts, options: InputStreamOptions
) -> None:
    asyncio.run(trip(contents, make, arrivals, loads, options))


@settings(deadline=None, max_examples=60)
@given(contents=st.lists(values, max_size=12))
def test_any_values_through_a_buffer(contents: list[Value]) -> None:
    writer = DataWriter()
    lengths = [write(writer, value) for value in contents]
    reader = DataReader.from_buffer(writer.detach_buffer())
    for value, (size, units) in zip(contents, lengths, strict=True):
        assert same(read(reader, value, size, units), value.content)
    assert reader.unconsumed_buffer_length == 0


@settings(deadline=None, max_examples=60)
@given(contents=st.lists(values, max_size=12), junk=st.binary(max_size=40))
def test_hostile_bytes_never_do_more_than_fail(contents: list[Value], junk: bytes) -> None:
    """Any read of any bytes gives a value or an OSError or OverflowError, and takes all of its bytes or none."""
    reader = DataReader.from_buffer(junk)
    for value in contents:
        before = reader.unconsumed_buffer_length
        size = SIZES.get(value.kind, 6)
        try:
            read(reader, value, size, 6)
        except (OSError, OverflowError):
            assert reader.unconsumed_buffer_length == before
        else:
            taken = 12 if value.kind == "string" and value.encoding else size
            assert before - reader.unconsumed_buffer_length == taken


# -- an independent judge: Python's struct and codecs ------------------------------------------------------------------


@pytest.mark.parametrize("order", ByteOrder)
def test_the_layout_is_that_of_struct(order: ByteOrder) -> None:
    moment = datetime(2026, 11, 20, 12, 30, 15, 123456, tzinfo=UTC)
    ticks = ((calendar.timegm(moment.timetuple()) + 11644473600) * 1_000_000 + moment.microsecond) * 10
    writer = DataWriter()
    writer.byte_order = order
    writer.write_int16(-2)
    writer.write_uint32(3)
    writer.write_double(2.5)
    writer.write_boolean(True)
    writer.write_date_time(moment)
    writer.write_time_span(timedelta(days=-1, microseconds=1))
    expected = struct.pack("<>"[order] + "hId?qq", -2, 3, 2.5, True, ticks, (-86400 * 10**6 + 1) * 10)
    assert bytes(writer.detach_buffer()) == expected


async def test_through_memory_in_many_stores() -> None:
    stream = InMemoryRandomAccessStream()
    with DataWriter(stream.get_output_stream_at(0)) as writer:
        for number in range(1000):
            writer.write_uint16(number)
            await writer.store_async()
    with DataReader(stream) as reader:
        assert await reader.load_async(2000) == 2000
        assert [reader.read_uint16() for _ in range(1000)] == list(range(1000))
