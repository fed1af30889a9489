from __future__ import annotations

import array
import asyncio
import struct
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from tests.streams.scripted import ScriptedOutput, ShortWayOutput, fails

from moorings import errors
from moorings.foundation.async_info import DataWriterStoreOperation, IAsyncOperation
from moorings.foundation.async_status import AsyncStatus
from moorings.foundation.closable import IClosable
from moorings.foundation.operation import STORE
from moorings.foundation.projection import Object
from moorings.foundation.scalars import UInt8
from moorings.foundation.winrt_array import Array
from moorings.streams import data_writer
from moorings.streams.buffer import Buffer, copy_of
from moorings.streams.data_writer import DataWriter
from moorings.streams.enums import ByteOrder, UnicodeEncoding
from moorings.streams.interfaces import IDataReader, IDataWriter

if TYPE_CHECKING:
    from collections.abc import Callable

RESET = errors.make(errors.WSAECONNRESET, "the peer of the test has gone")
GUID = UUID("00112233-4455-6677-8899-aabbccddeeff")
both_ways = pytest.mark.parametrize("make", [ScriptedOutput, ShortWayOutput])

# Member, value, little endian bytes, big endian bytes.
VALUES: list[tuple[str, Any, bytes, bytes]] = [
    ("write_boolean", True, b"\x01", b"\x01"),
    ("write_boolean", [], b"\x00", b"\x00"),
    ("write_boolean", "no", b"\x01", b"\x01"),
    ("write_byte", 254, b"\xfe", b"\xfe"),
    ("write_int16", -2, b"\xfe\xff", b"\xff\xfe"),
    ("write_uint16", 0x8001, b"\x01\x80", b"\x80\x01"),
    ("write_int32", -3, b"\xfd\xff\xff\xff", b"\xff\xff\xff\xfd"),
    ("write_uint32", 0x81020304, b"\x04\x03\x02\x81", b"\x81\x02\x03\x04"),
    ("write_int64", -4, b"\xfc" + b"\xff" * 7, b"\xff" * 7 + b"\xfc"),
    ("write_uint64", 0x8000000000000001, b"\x01" + b"\0" * 6 + b"\x80", b"\x80" + b"\0" * 6 + b"\x01"),
    ("write_single", 1, b"\0\0\x80\x3f", b"\x3f\x80\0\0"),
    ("write_double", 1.0, b"\0" * 6 + b"\xf0\x3f", b"\x3f\xf0" + b"\0" * 6),
    ("write_guid", GUID, bytes.fromhex("33221100554477668899aabbccddeeff"), GUID.bytes),
    ("write_time_span", timedelta(microseconds=1), b"\x0a" + b"\0" * 7, b"\0" * 7 + b"\x0a"),
    ("write_time_span", timedelta(microseconds=-1), b"\xf6" + b"\xff" * 7, b"\xff" * 7 + b"\xf6"),
    ("write_date_time", datetime(1601, 1, 1, tzinfo=UTC), b"\0" * 8, b"\0" * 8),
    (
        "write_date_time",
        datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        (116444736000000000).to_bytes(8, "little"),
        (116444736000000000).to_bytes(8, "big"),
    ),
    ("write_date_time", datetime.min.replace(tzinfo=UTC), (-504911232000000000).to_bytes(8, "little", signed=True),
     (-504911232000000000).to_bytes(8, "big", signed=True)),
    ("write_bytes", b"ab", b"ab", b"ab"),
    ("write_buffer", b"ab", b"ab", b"ab"),
    ("write_string", "aé", b"a\xc3\xa9", b"a\xc3\xa9"),
]  # fmt: skip
WRITES: dict[str, Any] = {name: value for name, value, _, _ in VALUES}


def written(writer: DataWriter) -> bytes:
    return bytes(writer.detach_buffer())


def test_defaults() -> None:
    writer = DataWriter()
    assert writer.byte_order is ByteOrder.BIG_ENDIAN
    assert writer.unicode_encoding is UnicodeEncoding.UTF8
    assert writer.unstored_buffer_length == 0


@pytest.mark.parametrize(("name", "value", "little", "big"), VALUES)
def test_values(name: str, value: Any, little: bytes, big: bytes) -> None:
    writer = DataWriter()
    writer.byte_order = ByteOrder.LITTLE_ENDIAN
    getattr(writer, name)(value)
    assert writer.unstored_buffer_length == len(little)
    writer.byte_order = ByteOrder.BIG_ENDIAN
    getattr(writer, name)(value)
    assert written(writer) == little + big
    assert writer.unstored_buffer_length == 0


def test_naive_points_in_time_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-3")
    time.tzset()
    try:
        writer = DataWriter()
        writer.write_date_time(datetime(1601, 1, 1, 3))
        assert written(writer) == bytes(8)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("write_byte", 0, 2**8 - 1),
        ("write_int16", -(2**15), 2**15 - 1),
        ("write_uint16", 0, 2**16 - 1),
        ("write_int32", -(2**31), 2**31 - 1),
        ("write_uint32", 0, 2**32 - 1),
        ("write_int64", -(2**63), 2**63 - 1),
        ("write_uint64", 0, 2**64 - 1),
    ],
)
def test_ranges(name: str, low: int, high: int) -> None:
    writer = DataWriter()
    write = getattr(writer, name)
    write(low)
    write(high)
    size = writer.unstored_buffer_length
    with pytest.raises(OverflowError if low else ValueError):
        write(low - 1)
    with pytest.raises(OverflowError):
        write(high + 1)
    for bad in ("1", 1.0, None, b"1"):
        with pytest.raises(TypeError):
            write(bad)
    assert writer.unstored_buffer_length == size


class Seven:
    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize("name", ["write_byte", "write_int16", "write_uint32", "write_uint64"])
def test_numbers_by_index(name: str) -> None:
    writer = DataWriter()
    getattr(writer, name)(Seven())
    assert written(writer)[-1] == 7


def test_floats() -> None:
    writer = DataWriter()
    for value in ("1", None, b"1", 1j):
        for write in (writer.write_single, writer.write_double):
            with pytest.raises(TypeError):
                write(value)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        writer.write_single(1e39)
    with pytest.raises(OverflowError):
        writer.write_double(10**400)
    assert writer.unstored_buffer_length == 0
    writer.write_single(float("inf"))
    assert written(writer) == b"\x7f\x80\0\0"


def test_time_spans_have_64_bits() -> None:
    writer = DataWriter()
    with pytest.raises(OverflowError):
        writer.write_time_span(timedelta.max)
    with pytest.raises(OverflowError):
        writer.write_time_span(timedelta.min)
    longest = timedelta(microseconds=(2**63 - 1) // 10)
    writer.write_time_span(longest)
    assert written(writer) == ((2**63 - 1) // 10 * 10).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("write_guid", str(GUID)),
        ("write_date_time", 0),
        ("write_time_span", 1.5),
        ("write_string", b"text"),
        ("write_string", None),
        ("measure_string", 3),
        ("write_bytes", "text"),
        ("write_bytes", [1, 2]),
        ("write_buffer", [1, 2]),
        ("write_buffer", 2),
    ],
)
def test_wrong_types(name: str, value: Any) -> None:
    writer = DataWriter()
    with pytest.raises(TypeError):
        getattr(writer, name)(value)
    assert writer.unstored_buffer_length == 0


# -- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "codec", "units"),
    [
        (UnicodeEncoding.UTF8, "utf-8", 12),
        (UnicodeEncoding.UTF16_L_E, "utf-16-le", 7),
        (UnicodeEncoding.UTF16_B_E, "utf-16-be", 7),
    ],
)
def test_text(encoding: UnicodeEncoding, codec: str, units: int) -> None:
    text = "aé€😀\0z"
    writer = DataWriter()
    writer.unicode_encoding = encoding
    assert writer.measure_string(text) == units
    assert writer.unstored_buffer_length == 0
    assert writer.write_string(text) == units
    assert writer.write_string("") == 0
    assert written(writer) == text.encode(codec)


@pytest.mark.parametrize("encoding", UnicodeEncoding)
def test_half_a_surrogate_pair_is_refused(encoding: UnicodeEncoding) -> None:
    writer = DataWriter()
    writer.unicode_encoding = encoding
    for text in ("a\ud83d", "\ude00", "\ude00\ud83d"):
        for call in (writer.write_string, writer.measure_string):
            with fails(errors.ERROR_NO_UNICODE_TRANSLATION):
                call(text)
    assert writer.unstored_buffer_length == 0


@pytest.mark.parametrize("encoding", UnicodeEncoding)
def test_two_halves_side_by_side_are_one_character(encoding: UnicodeEncoding) -> None:
    halves, whole = DataWriter(), DataWriter()
    halves.unicode_encoding = whole.unicode_encoding = encoding
    assert halves.measure_string("\ud83d\ude00!") == whole.measure_string("😀!")
    assert halves.write_string("\ud83d\ude00!") == whole.write_string("😀!")
    assert written(halves) == written(whole)


# -- bytes and buffers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"abcd",
        bytearray(b"abcd"),
        memoryview(b"axbxcxdx")[::2],
        array.array("I", [int.from_bytes(b"abcd", "little")]),
        copy_of(b"abcd"),
        Array(UInt8, [97, 98, 99, 100]),
    ],
)
def test_bytes_like_objects(data: Any) -> None:
    writer = DataWriter()
    writer.write_bytes(data)
    writer.write_buffer(data)
    writer.write_buffer(data, 1, 2)
    writer.write_buffer(data, 4, 0)
    assert written(writer) == b"abcdabcdbc"


def test_parts_of_a_buffer() -> None:
    buffer = Buffer(10)
    buffer.length = 4
    writer = DataWriter()
    for start, count in ((0, 5), (4, 1), (5, 0), (2, 0xFFFFFFFF)):
        with fails(errors.E_BOUNDS):
            writer.write_buffer(buffer, start, count)
    with pytest.raises(ValueError, match="negative"):
        writer.write_buffer(buffer, -1, 1)
    with pytest.raises(OverflowError):
        writer.write_buffer(buffer, 0, 2**32)
    with pytest.raises(TypeError, match="parameter count"):
        writer.write_buffer(buffer, 1)
    with fails(errors.E_INVALIDARG):
        writer.write_buffer(None)  # type: ignore[arg-type]
    assert writer.unstored_buffer_length == 0


def test_write_buffer_range_is_the_old_name() -> None:
    writer = DataWriter()
    with pytest.warns(DeprecationWarning, match="write_buffer"):
        writer.write_buffer_range(b"abcd", 1, 2)
    assert written(writer) == b"bc"


def test_write_struct() -> None:
    writer = DataWriter()
    writer.write_struct("BH", 1, 2)
    writer.byte_order = ByteOrder.LITTLE_ENDIAN
    writer.write_struct("BH", 1, 2)
    writer.write_struct("!H", 2)
    with pytest.raises(struct.error):
        writer.write_struct("B", 256)
    assert written(writer) == b"\x01\0\x02\x01\x02\0\0\x02"


def test_detach_buffer_gives_a_buffer_that_can_change() -> None:
    writer = DataWriter()
    assert bytes(writer.detach_buffer()) == b""
    writer.write_bytes(b"abc")
    buffer = writer.detach_buffer()
    assert (type(buffer), buffer.length, buffer.capacity) == (Buffer, 3, 3)
    buffer.length = 1
    writer.write_byte(0)
    assert (bytes(buffer), written(writer)) == (b"a", b"\0")


def test_no_write_goes_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_writer, "UNSTORED_LIMIT", 4)
    writer = DataWriter()
    writer.write_bytes(b"abc")
    for write in (lambda: writer.write_string("de"), lambda: writer.write_uint16(1)):
        with fails(errors.E_OUTOFMEMORY):
            write()
    writer.write_byte(1)
    assert written(writer) == b"abc\x01"


# -- storing ---------------------------------------------------------------------------------------------------------


async def test_a_store_is_one_write_on_the_long_way() -> None:
    stream = ScriptedOutput()
    with DataWriter(stream) as writer:
        writer.write_byte(1)
        writer.write_string("abc")
        store = writer.store_async()
        assert isinstance(store, DataWriterStoreOperation)
        assert isinstance(store, IAsyncOperation)
        assert writer.unstored_buffer_length == 0
        assert await store == 4
        assert writer.unstored_buffer_length == 0
    assert stream.writes == [b"\x01abc"]


async def test_a_store_is_one_write_on_the_short_way() -> None:
    stream = ShortWayOutput()
    with DataWriter(stream) as writer:
        writer.write_string("abc")
        store = writer.store_async()
        assert isinstance(store, DataWriterStoreOperation)
        assert stream.way.pending[0] is store
        assert (stream.way.kinds, stream.writes) == ([STORE], [b"abc"])
        writer.write_string("de")
        stream.end()
        assert await store == 3
        assert store.status == AsyncStatus.COMPLETED
        assert writer.unstored_buffer_length == 2


@both_ways
async def test_a_store_of_nothing_writes_nothing(make: Callable[[], Any]) -> None:
    stream = make()
    with DataWriter(stream) as writer:
        store = writer.store_async()
        assert (store.status, await store) == (AsyncStatus.COMPLETED, 0)
        assert isinstance(store, DataWriterStoreOperation)
    assert stream.writes == []


@both_ways
async def test_close_does_not_store(make: Callable[[], Any]) -> None:
    stream = make()
    with DataWriter(stream) as writer:
        writer.write_byte(1)
    assert stream.writes == []


async def test_a_failed_store_that_took_nothing_can_be_tried_again() -> None:
    stream = ScriptedOutput()
    with DataWriter(stream) as writer:
        writer.write_string("abc")
        stream.error = RESET
        with pytest.raises(ConnectionResetError):
            await writer.store_async()
        writer.write_string("de")
        assert writer.unstored_buffer_length == 5
        stream.error = None
        assert await writer.store_async() == 5
    assert stream.writes == [b"abcde"]


@pytest.mark.parametrize("taken", [0, 2])
async def test_a_failed_store_on_the_short_way(taken: int) -> None:
    stream = ShortWayOutput()
    with DataWriter(stream) as writer:
        writer.write_string("abc")
        store = writer.store_async()
        writer.write_string("de")
        stream.end(RESET, taken)
        with pytest.raises(ConnectionResetError):
            await store
        assert writer.unstored_buffer_length == (2 if taken else 5)
        assert written(writer) == (b"de" if taken else b"abcde")


async def test_a_failing_write_operation_that_took_something_is_not_tried_again() -> None:
    inner = ShortWayOutput()

    class Wrapping(ScriptedOutput):
        def write_async(self, buffer: Any, /) -> Any:
            return inner._start_write(buffer, len(buffer), None, STORE)

    with DataWriter(Wrapping()) as writer:
        for taken in (2, 0):
            writer.write_string("abc")
            store = writer.store_async()
            await asyncio.sleep(0)
            inner.end(RESET, taken)
            with pytest.raises(ConnectionResetError):
                await store
            assert writer.unstored_buffer_length == (0 if taken else 3)


async def test_a_short_write_leaves_the_rest() -> None:
    stream = ScriptedOutput()
    stream.accepts = 2
    with DataWriter(stream) as writer:
        writer.write_string("abcde")
        assert await writer.store_async() == 2
        writer.write_string("f")
        assert writer.unstored_buffer_length == 4
        assert await writer.store_async() == 2
        assert written(writer) == b"ef"
    assert stream.writes == [b"ab", b"cd"]


@pytest.mark.parametrize("claim", [4, -1, None, "3"])
async def test_nonsense_from_a_stream_is_an_error_of_the_store(claim: Any) -> None:
    class Nonsense(ScriptedOutput):
        async def write_async(self, buffer: Any, /) -> Any:
            return claim

    with DataWriter(Nonsense()) as writer:
        writer.write_string("abc")
        with fails(errors.E_FAIL):
            await writer.store_async()
        assert writer.unstored_buffer_length == 3


async def test_a_store_cancelled_before_it_began_leaves_everything() -> None:
    stream = ScriptedOutput()
    with DataWriter(stream) as writer:
        writer.write_string("abc")
        store = writer.store_async()
        store.cancel()
        with pytest.raises(asyncio.CancelledError):
            await store
        assert writer.unstored_buffer_length == 3
        assert await writer.store_async() == 3
    assert stream.writes == [b"abc"]


async def test_a_refused_store_leaves_everything() -> None:
    stream = ShortWayOutput()
    with DataWriter(stream) as writer:
        stream.close()
        writer.write_string("abc")
        for _ in range(2):
            with fails(errors.RO_E_CLOSED):
                writer.store_async()
            assert writer.unstored_buffer_length == 3
        writer.detach_stream()
        assert written(writer) == b"abc"


async def test_store_with_another_under_way_keeps_order() -> None:
    stream = ScriptedOutput()
    stream.gate = asyncio.Event()
    with DataWriter(stream) as writer:
        writer.write_string("abc")
        store = writer.store_async()
        writer.write_string("de")
        with fails(errors.ERROR_INVALID_OPERATION):
            writer.store_async()
        assert writer.unstored_buffer_length == 2
        stream.gate.set()
        assert await store == 3
        assert await writer.store_async() == 2
    assert stream.writes == [b"abc", b"de"]


@both_ways
async def test_flush_is_the_streams(make: Callable[[], Any]) -> None:
    stream = make()
    with DataWriter(stream) as writer:
        writer.write_byte(1)
        flush = writer.flush_async()
        if isinstance(stream, ShortWayOutput):
            assert flush is stream.flush_result
        else:
            assert isinstance(flush, IAsyncOperation)
            assert await flush is True
            assert stream.flushes == 1
        assert writer.unstored_buffer_length == 1


def test_a_plain_script_stores() -> None:
    stream = ScriptedOutput()
    with DataWriter(stream) as writer:
        writer.write_string("abc")
        assert writer.store_async().get() == 3
        assert writer.flush_async().get() is True
    assert stream.writes == [b"abc"]


# -- the object ------------------------------------------------------------------------------------------------------


def test_it_is_what_it_should_be() -> None:
    writer = DataWriter()
    assert isinstance(writer, IDataWriter)
    assert isinstance(writer, IClosable)
    assert isinstance(writer, Object)
    assert writer.as_(IDataWriter) is writer
    with fails(errors.E_NOINTERFACE):
        writer.as_(IDataReader)
    assert writer._runtime_class_name_ == "Windows.Storage.Streams.DataWriter"
    writer.write_uint16(1)
    assert repr(writer) == "<DataWriter 2 bytes not stored>"


def test_constructor_arguments() -> None:
    with fails(errors.E_INVALIDARG):
        DataWriter(None)  # type: ignore[arg-type]
    for bad in (b"abc", object(), DataWriter()):
        with pytest.raises(TypeError):
            DataWriter(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        DataWriter(ScriptedOutput(), 1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        DataWriter(output_stream=ScriptedOutput())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"subclass|base type"):
        type("Sub", (DataWriter,), {})


USES: dict[str, Callable[[DataWriter], object]] = {
    "store_async": lambda writer: writer.store_async(),
    "flush_async": lambda writer: writer.flush_async(),
    "detach_stream": lambda writer: writer.detach_stream(),
    "detach_buffer": lambda writer: writer.detach_buffer(),
    "unstored_buffer_length": lambda writer: writer.unstored_buffer_length,
    "write": lambda writer: [getattr(writer, name)(value) for name, value in WRITES.items()],
}
assert USES.keys() == DataWriter.RULES.keys()


@pytest.mark.parametrize("member", DataWriter.RULES)
def test_closed_refuses(member: str) -> None:
    stream = ScriptedOutput()
    with DataWriter(stream) as writer:
        pass
    with fails(errors.RO_E_CLOSED):
        USES[member](writer)
    writer.close()
    assert stream.closed == 1
    assert repr(writer) == "<DataWriter closed>"


@pytest.mark.parametrize("name", WRITES)
def test_closed_refuses_every_write(name: str) -> None:
    writer = DataWriter()
    writer.close()
    with fails(errors.RO_E_CLOSED):
        getattr(writer, name)(WRITES[name])
    assert writer.byte_order is ByteOrder.BIG_ENDIAN


@pytest.mark.parametrize("member", DataWriter.RULES)
def test_without_a_stream(member: str) -> None:
    stream = ScriptedOutput()
    detached = DataWriter(stream)
    assert detached.detach_stream() is stream
    for writer in (detached, DataWriter()):
        if "no stream" in DataWriter.RULES[member]:
            with fails(errors.E_ILLEGAL_METHOD_CALL):
                USES[member](writer)
        else:
            USES[member](writer)
        writer.close()
    assert stream.closed == 0


@pytest.mark.parametrize("member", DataWriter.RULES)
@both_ways
async def test_while_a_store_is_under_way(member: str, make: Callable[[], Any]) -> None:
    with DataWriter(make()) as writer:
        writer.write_byte(1)
        store = writer.store_async()
        if "busy" in DataWriter.RULES[member]:
            with fails(errors.ERROR_INVALID_OPERATION):
                USES[member](writer)
        else:
            result = USES[member](writer)
            if isinstance(result, IAsyncOperation):
                assert await result is True
        store.cancel()
        await asyncio.gather(store, return_exceptions=True)
        assert not writer._is_busy()


@both_ways
def test_dropping_with_an_open_stream_warns_and_leaves_it_open(make: Callable[[], Any]) -> None:
    stream = make()
    with pytest.warns(ResourceWarning, match=r"DataWriter dropped without close\(\) or detach_stream\(\)"):
        DataWriter(stream)
    assert stream.closed == 0 if isinstance(stream, ScriptedOutput) else stream.way.open


def test_dropping_without_an_open_stream_is_silent() -> None:
    DataWriter().write_byte(1)
    DataWriter(ScriptedOutput()).close()
    DataWriter(ScriptedOutput()).detach_stream()
    stream = ShortWayOutput()
    stream.close()
    DataWriter(stream)
