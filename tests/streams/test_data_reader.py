from __future__ import annotations

import array
import asyncio
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from tests.streams.scripted import ScriptedInput, ShortWayInput, fails

from moorings import errors
from moorings.foundation.closable import IClosable
from moorings.foundation.projection import Object
from moorings.foundation.scalars import UInt8
from moorings.foundation.winrt_array import Array
from moorings.streams.buffer import Buffer, copy_of
from moorings.streams.data_reader import DataReader, reader_over
from moorings.streams.enums import ByteOrder, InputStreamOptions, UnicodeEncoding
from moorings.streams.interfaces import IDataReader, IDataWriter

if TYPE_CHECKING:
    from collections.abc import Callable

GUID = UUID("00112233-4455-6677-8899-aabbccddeeff")

# Member, little endian bytes, big endian bytes, value.
VALUES: list[tuple[str, bytes, bytes, Any]] = [
    ("read_boolean", b"\x00", b"\x00", False),
    ("read_boolean", b"\x02", b"\xff", True),
    ("read_byte", b"\xfe", b"\xfe", 254),
    ("read_int16", b"\xfe\xff", b"\xff\xfe", -2),
    ("read_uint16", b"\x01\x80", b"\x80\x01", 0x8001),
    ("read_int32", b"\xfd\xff\xff\xff", b"\xff\xff\xff\xfd", -3),
    ("read_uint32", b"\x04\x03\x02\x81", b"\x81\x02\x03\x04", 0x81020304),
    ("read_int64", b"\xfc" + b"\xff" * 7, b"\xff" * 7 + b"\xfc", -4),
    ("read_uint64", b"\x01" + b"\0" * 6 + b"\x80", b"\x80" + b"\0" * 6 + b"\x01", 0x8000000000000001),
    ("read_single", b"\0\0\x80\x3f", b"\x3f\x80\0\0", 1.0),
    ("read_double", b"\0" * 6 + b"\xf0\x3f", b"\x3f\xf0" + b"\0" * 6, 1.0),
    ("read_guid", bytes.fromhex("33221100554477668899aabbccddeeff"), GUID.bytes, GUID),
    ("read_time_span", b"\x0a" + b"\0" * 7, b"\0" * 7 + b"\x0a", timedelta(microseconds=1)),
    ("read_time_span", b"\xe7" + b"\xff" * 7, b"\xff" * 7 + b"\xe7", timedelta(microseconds=-2)),
    ("read_date_time", b"\0" * 8, b"\0" * 8, datetime(1601, 1, 1, tzinfo=UTC)),
    (
        "read_date_time",
        (116444736000000000 + 15).to_bytes(8, "little"),
        (116444736000000000 + 15).to_bytes(8, "big"),
        datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    ),
]
READS: dict[str, Callable[[DataReader], object]] = {
    **{name: (lambda reader, name=name: getattr(reader, name)()) for name, _, _, _ in VALUES},
    "read_bytes": lambda reader: reader.read_bytes(bytearray(3)),
    "read_buffer": lambda reader: reader.read_buffer(3),
    "read_string": lambda reader: reader.read_string(3),
    "read_struct": lambda reader: reader.read_struct("BH"),
}


def test_defaults() -> None:
    reader = DataReader.from_buffer(b"")
    assert reader.byte_order is ByteOrder.BIG_ENDIAN
    assert reader.unicode_encoding is UnicodeEncoding.UTF8
    assert reader.input_stream_options is InputStreamOptions.NONE
    assert reader.unconsumed_buffer_length == 0


@pytest.mark.parametrize(("name", "little", "big", "value"), VALUES)
def test_values(name: str, little: bytes, big: bytes, value: Any) -> None:
    reader = DataReader.from_buffer(b"." + little + big + b".")
    assert reader.read_byte() == ord(".")
    reader.byte_order = ByteOrder.LITTLE_ENDIAN
    first = getattr(reader, name)()
    assert (first, type(first)) == (value, type(value))
    reader.byte_order = ByteOrder.BIG_ENDIAN
    assert getattr(reader, name)() == value
    assert reader.unconsumed_buffer_length == 1


def test_points_in_time_are_utc() -> None:
    assert DataReader.from_buffer(b"\0" * 8).read_date_time().tzinfo is UTC


@pytest.mark.parametrize("ticks", [2**63 - 1, -(2**63)])
def test_a_point_in_time_beyond_python_is_not_taken(ticks: int) -> None:
    reader = DataReader.from_buffer(struct.pack(">q", ticks))
    with pytest.raises(OverflowError, match="1 to 9999"):
        reader.read_date_time()
    assert reader.read_int64() == ticks


def test_longest_time_spans() -> None:
    reader = DataReader.from_buffer(struct.pack(">qq", 2**63 - 1, -(2**63)))
    assert reader.read_time_span() == timedelta(microseconds=(2**63 - 1) // 10)
    assert reader.read_time_span() == -timedelta(microseconds=2**63 // 10)


@pytest.mark.parametrize(
    ("encoding", "data", "units"),
    [
        (UnicodeEncoding.UTF8, "aé€😀\0z".encode(), 12),
        (UnicodeEncoding.UTF16_L_E, "aé€😀\0z".encode("utf-16-le"), 7),
        (UnicodeEncoding.UTF16_B_E, "aé€😀\0z".encode("utf-16-be"), 7),
    ],
)
def test_text_is_counted_in_code_units(encoding: UnicodeEncoding, data: bytes, units: int) -> None:
    reader = DataReader.from_buffer(data + b"rest")
    reader.unicode_encoding = encoding
    assert reader.unicode_encoding is encoding
    assert reader.read_string(units) == "aé€😀\0z"
    assert reader.unconsumed_buffer_length == 4
    assert reader.read_string(0) == ""


@pytest.mark.parametrize(
    ("encoding", "data", "units"),
    [
        (UnicodeEncoding.UTF8, b"ab\xff", 3),
        (UnicodeEncoding.UTF8, "é".encode(), 1),
        (UnicodeEncoding.UTF8, b"\xed\xa0\x80", 3),
        (UnicodeEncoding.UTF8, b"\xc0\x80", 2),
        (UnicodeEncoding.UTF16_L_E, "😀".encode("utf-16-le"), 1),
        (UnicodeEncoding.UTF16_B_E, b"\xdc\x00\x00a", 2),
    ],
)
def test_invalid_text_is_refused_and_not_taken(encoding: UnicodeEncoding, data: bytes, units: int) -> None:
    reader = DataReader.from_buffer(data)
    reader.unicode_encoding = encoding
    with fails(errors.ERROR_NO_UNICODE_TRANSLATION):
        reader.read_string(units)
    assert reader.unconsumed_buffer_length == len(data)


def test_a_byte_order_mark_is_a_character() -> None:
    reader = DataReader.from_buffer(b"\xef\xbb\xbfa\xfe\xff\0a")
    assert reader.read_string(4) == "\ufeffa"
    reader.unicode_encoding = UnicodeEncoding.UTF16_B_E
    assert reader.read_string(2) == "\ufeffa"


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("encoding", UnicodeEncoding)
def test_a_read_beyond_the_end_takes_nothing(name: str, encoding: UnicodeEncoding) -> None:
    need = next((len(data) for member, data, _, _ in VALUES if member == name), 3)
    if name == "read_string" and encoding:
        need = 6
    for size in range(need + 1):
        reader = DataReader.from_buffer(bytes(size))
        reader.unicode_encoding = encoding
        if size < need:
            with fails(errors.E_BOUNDS):
                READS[name](reader)
            assert reader.unconsumed_buffer_length == size
        else:
            READS[name](reader)
            assert reader.unconsumed_buffer_length == 0


def test_huge_counts_are_bounds_errors() -> None:
    reader = DataReader.from_buffer(b"abc")
    for encoding in UnicodeEncoding:
        reader.unicode_encoding = encoding
        with fails(errors.E_BOUNDS):
            reader.read_string(0xFFFFFFFF)
    with fails(errors.E_BOUNDS):
        reader.read_buffer(0xFFFFFFFF)
    assert reader.unconsumed_buffer_length == 3


@pytest.mark.parametrize("call", [lambda r, n: r.read_string(n), lambda r, n: r.read_buffer(n)])
def test_counts_are_unsigned_32_bit_numbers(call: Callable[[DataReader, Any], object]) -> None:
    reader = DataReader.from_buffer(b"abc")
    with pytest.raises(ValueError, match="negative"):
        call(reader, -1)
    with pytest.raises(OverflowError):
        call(reader, 2**32)
    with pytest.raises(TypeError):
        call(reader, "1")
    assert reader.unconsumed_buffer_length == 3


# -- bytes and buffers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [bytearray, lambda n: memoryview(bytearray(n)), lambda n: Array(UInt8, n)])
def test_read_bytes_fills(make: Callable[[int], Any]) -> None:
    reader = DataReader.from_buffer(b"abcdef")
    target = make(4)
    assert reader.read_bytes(target) is None  # type: ignore[func-returns-value]
    assert bytes(target) == b"abcd"
    reader.read_bytes(make(0))
    assert reader.unconsumed_buffer_length == 2


def test_read_bytes_fills_wider_elements_and_buffers() -> None:
    reader = DataReader.from_buffer(b"abcdefgh")
    words = array.array("H", [0, 0])
    reader.read_bytes(words)
    assert words.tobytes() == b"abcd"
    buffer = Buffer(8)
    buffer.length = 3
    reader.read_bytes(buffer)
    assert bytes(buffer) == b"efg"


@pytest.mark.parametrize("target", [b"abc", [0, 0], "abc", memoryview(b"ab"), 3, memoryview(bytearray(8))[::2]])
def test_read_bytes_wants_writable_memory(target: Any) -> None:
    reader = DataReader.from_buffer(b"abcdef")
    with pytest.raises(TypeError):
        reader.read_bytes(target)
    assert reader.unconsumed_buffer_length == 6


def test_read_buffer_is_a_copy_of_its_part() -> None:
    reader = DataReader.from_buffer(b"abcdef")
    first = reader.read_buffer(2)
    assert (type(first), bytes(first), first.capacity) == (Buffer, b"ab", 2)
    assert len(reader.read_buffer(0)) == 0
    memoryview(first)[:] = b"XX"
    assert bytes(reader.read_buffer(4)) == b"cdef"


@pytest.mark.parametrize(
    "source", [b"ab", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"axbx")[::2], array.array("H", [0x6261])]
)
def test_from_buffer_takes_bytes_like_objects(source: Any) -> None:
    assert DataReader.from_buffer(source).read_uint16() == 0x6162


def test_from_buffer_reads_a_copy() -> None:
    data = bytearray(b"ab")
    buffer = copy_of(b"cd")
    first, second = DataReader.from_buffer(data), DataReader.from_buffer(buffer)
    data += b"x"
    data[:] = b"----"
    buffer.length = 1
    memoryview(buffer)[:] = b"-"
    assert (first.read_string(2), second.read_string(2)) == ("ab", "cd")


@pytest.mark.parametrize("source", ["ab", [1], 3])
def test_from_buffer_refuses_other_objects(source: Any) -> None:
    with pytest.raises(TypeError, match="buffer"):
        DataReader.from_buffer(source)


def test_from_buffer_refuses_none() -> None:
    with fails(errors.E_INVALIDARG):
        DataReader.from_buffer(None)  # type: ignore[arg-type]


def test_detach_buffer_gives_what_from_buffer_got() -> None:
    buffer = copy_of(b"abc")
    reader = DataReader.from_buffer(buffer)
    reader.read_byte()
    assert reader.detach_buffer() is buffer
    assert reader.unconsumed_buffer_length == 0
    assert bytes(reader.detach_buffer()) == b""
    with fails(errors.E_BOUNDS):
        reader.read_byte()


def test_detach_buffer_of_plain_bytes_is_a_buffer() -> None:
    for reader in (DataReader.from_buffer(b"abc"), reader_over(memoryview(b"abc"))):
        reader.read_byte()
        detached = reader.detach_buffer()
        assert (type(detached), bytes(detached)) == (Buffer, b"abc")


def test_reader_over_views_memory() -> None:
    memory = bytearray(b"abcd")
    reader = reader_over(memoryview(memory)[1:])
    memory[1] = ord("X")
    assert reader.unconsumed_buffer_length == 3
    assert reader.read_string(3) == "Xcd"


# -- struct --------------------------------------------------------------------------------------------------------


def test_read_struct_follows_the_byte_order_unless_the_format_has_one() -> None:
    reader = DataReader.from_buffer(b"\x01\x00\x02" * 3 + b"\0")
    assert reader.read_struct("BH") == (1, 2)
    reader.byte_order = ByteOrder.LITTLE_ENDIAN
    assert reader.read_struct("BH") == (1, 0x200)
    assert reader.read_struct("!BH") == (1, 2)
    with pytest.raises(struct.error):
        reader.read_struct("nonsense")
    assert reader.unconsumed_buffer_length == 1
    assert reader.read_struct("") == ()


# -- settings ------------------------------------------------------------------------------------------------------


def test_settings_take_plain_numbers() -> None:
    reader = DataReader.from_buffer(b"")
    reader.byte_order = 0  # type: ignore[assignment]
    reader.unicode_encoding = 2  # type: ignore[assignment]
    reader.input_stream_options = 3  # type: ignore[assignment]
    assert reader.byte_order is ByteOrder.LITTLE_ENDIAN
    assert reader.unicode_encoding is UnicodeEncoding.UTF16_B_E
    assert reader.input_stream_options == InputStreamOptions.PARTIAL | InputStreamOptions.READ_AHEAD


@pytest.mark.parametrize(
    ("name", "number"), [("byte_order", 2), ("byte_order", -1), ("unicode_encoding", 3), ("input_stream_options", 4)]
)
def test_unknown_settings_are_refused(name: str, number: int) -> None:
    reader = DataReader.from_buffer(b"")
    before = getattr(reader, name)
    with fails(errors.E_INVALIDARG):
        setattr(reader, name, number)
    with pytest.raises(TypeError):
        setattr(reader, name, "1")
    assert getattr(reader, name) == before


# -- the object ----------------------------------------------------------------------------------------------------


def test_it_is_what_it_should_be() -> None:
    reader = DataReader.from_buffer(b"abc")
    assert isinstance(reader, IDataReader)
    assert isinstance(reader, IClosable)
    assert isinstance(reader, Object)
    assert not isinstance(reader, IDataWriter)
    assert reader.as_(IDataReader) is reader
    with fails(errors.E_NOINTERFACE):
        reader.as_(IDataWriter)
    assert reader._runtime_class_name_ == "Windows.Storage.Streams.DataReader"
    assert list(reader._iids_) == []
    assert repr(reader) == "<DataReader 3 bytes loaded>"


def test_constructor_arguments() -> None:
    with fails(errors.E_INVALIDARG):
        DataReader(None)  # type: ignore[arg-type]
    for bad in (b"abc", object(), DataReader.from_buffer(b"")):
        with pytest.raises(TypeError):
            DataReader(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        DataReader()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        DataReader(input_stream=ScriptedInput())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"subclass|base type"):
        type("Sub", (DataReader,), {})


# What each member does, for the table of rules: everything that may be refused.
USES: dict[str, Callable[[DataReader], object]] = {
    "load_async": lambda reader: reader.load_async(1),
    "detach_stream": lambda reader: reader.detach_stream(),
    "detach_buffer": lambda reader: reader.detach_buffer(),
    "unconsumed_buffer_length": lambda reader: reader.unconsumed_buffer_length,
    "read": lambda reader: [READS[name](reader) for name in READS],
}
assert USES.keys() == DataReader.RULES.keys()


@pytest.mark.parametrize("member", DataReader.RULES)
def test_closed_refuses(member: str) -> None:
    stream = ScriptedInput()
    with DataReader(stream) as reader:
        pass
    with fails(errors.RO_E_CLOSED):
        USES[member](reader)


@pytest.mark.parametrize("name", READS)
def test_closed_refuses_every_read(name: str) -> None:
    reader = DataReader.from_buffer(bytes(100))
    reader.close()
    with fails(errors.RO_E_CLOSED):
        READS[name](reader)


def test_closed_refuses_empty_reads_too() -> None:
    reader = DataReader.from_buffer(b"")
    reader.close()
    for read in (lambda: reader.read_string(0), lambda: reader.read_bytes(bytearray()), lambda: reader.read_struct("")):
        with fails(errors.RO_E_CLOSED):
            read()


def test_closing_twice_and_settings_after_it() -> None:
    stream = ScriptedInput()
    reader = DataReader(stream)
    reader.close()
    reader.close()
    assert stream.closed == 1
    reader.byte_order = ByteOrder.LITTLE_ENDIAN
    assert reader.byte_order is ByteOrder.LITTLE_ENDIAN
    assert reader.unicode_encoding is UnicodeEncoding.UTF8
    assert reader.input_stream_options is InputStreamOptions.NONE
    assert repr(reader) == "<DataReader closed>"


@pytest.mark.parametrize("member", DataReader.RULES)
def test_without_a_stream(member: str) -> None:
    stream = ScriptedInput()
    detached = DataReader(stream)
    assert detached.detach_stream() is stream
    for reader in (detached, DataReader.from_buffer(b"")):
        if "no stream" in DataReader.RULES[member]:
            with fails(errors.E_ILLEGAL_METHOD_CALL):
                USES[member](reader)
        elif member == "read":
            with fails(errors.E_BOUNDS):
                USES[member](reader)
        else:
            USES[member](reader)


@pytest.mark.parametrize("member", DataReader.RULES)
@pytest.mark.parametrize("make", [lambda: ScriptedInput(b"x"), ShortWayInput])
async def test_while_a_load_is_under_way(member: str, make: Callable[[], Any]) -> None:
    with DataReader(make()) as reader:
        load = reader.load_async(2)
        if "busy" in DataReader.RULES[member]:
            with fails(errors.ERROR_INVALID_OPERATION):
                USES[member](reader)
        elif member == "read":
            with fails(errors.E_BOUNDS):
                USES[member](reader)
        else:
            USES[member](reader)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)


# -- dropping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [ScriptedInput, ShortWayInput])
def test_dropping_with_an_open_stream_warns_and_leaves_it_open(make: Callable[[], Any]) -> None:
    stream = make()
    with pytest.warns(ResourceWarning, match=r"DataReader dropped without close\(\) or detach_stream\(\)"):
        DataReader(stream)
    assert stream.closed == 0 if isinstance(stream, ScriptedInput) else stream.way.open


def test_dropping_without_an_open_stream_is_silent() -> None:
    DataReader.from_buffer(b"abc")
    DataReader(ScriptedInput()).close()
    DataReader(ScriptedInput()).detach_stream()
    stream = ShortWayInput()
    stream.close()
    DataReader(stream)
