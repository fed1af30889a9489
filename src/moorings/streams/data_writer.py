"""`DataWriter`: typed values into a stream, or into a buffer.

Theory of operation
-------------------
The `write_*` members append to one bytearray. A store hands it to the stream as it is, in one write, and starts a new
one, so writing may go on meanwhile. Socket streams take it the short way: `_start_write` makes an operation of kind
STORE and calls `_stored` when it has ended. Any other IOutputStream goes the long way: a coroutine awaits its
`write_async`.

Both ways end on the home thread, which in a plain script is not the program's. They only clear `_in_flight` where the
stream took something, and leave it where it took nothing; the program's thread puts it back in front when it next looks
(`_take_back`).

Source: WinRT DataWriter; its default byte order and value formats as used by the Windows samples.
"""

from __future__ import annotations

import struct
from operator import index
from typing import TYPE_CHECKING, Any, Self

from moorings import errors
from moorings.foundation.closable import IClosable
from moorings.foundation.home import current_home
from moorings.foundation.operation import OPERATION, STORE
from moorings.foundation.projection import (
    check_datetime,
    check_float,
    check_guid,
    check_int,
    check_object,
    check_single,
    check_str,
    check_timedelta,
    check_uint,
    deprecated_alias,
    final,
    invalid_parameter_count,
)
from moorings.foundation.task_operation import completed_operation, start_operation
from moorings.streams.buffer import Buffer, wrap
from moorings.streams.formats import (
    CODECS,
    EPOCH,
    FORMAT_PREFIXES,
    NATIVE_ORDER_MARKS,
    PACK_DOUBLE,
    PACK_INT16,
    PACK_INT32,
    PACK_INT64,
    PACK_SINGLE,
    PACK_UINT16,
    PACK_UINT32,
    PACK_UINT64,
    ticks_of,
)
from moorings.streams.interfaces import IDataWriter, IOutputStream
from moorings.streams.stream_owner import BUSY, NO_STREAM, StreamOwner
from moorings.streams.views import bytes_view

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from moorings.foundation.async_info import DataWriterStoreOperation, IAsyncOperation
    from moorings.foundation.operation import Operation
    from moorings.foundation.scalars import ReadableBuffer
    from moorings.foundation.winrt_array import Array

__all__ = ["DataWriter"]

#: `unstored_buffer_length` is an unsigned 32-bit number: no write goes beyond.
UNSTORED_LIMIT = 0xFFFFFFFF

_COMPLETED = 1
_NOT_GIVEN: Any = object()
_BYTES = tuple(bytes((value,)) for value in range(256))


class DataWriter(StreamOwner):
    """Collects numbers, text, times and bytes, to store them in a stream or to take them as a buffer.

    `DataWriter(output_stream)` takes over the stream: `store_async` writes what was collected to it, `close()` closes
    it, without storing. `DataWriter()` has no stream: `detach_buffer` gives what was collected.

    One operation at a time; writing may go on while a store is under way. A writer that is dropped with an open stream
    warns with a ResourceWarning and leaves it open.
    """

    __slots__ = ("_data", "_in_flight")

    RULES = {  # noqa: RUF012 (compiled classes have no annotated attributes)
        "store_async": (NO_STREAM, BUSY),
        "flush_async": (NO_STREAM,),
        "detach_stream": (BUSY,),
        "detach_buffer": (BUSY,),
        "unstored_buffer_length": (),
        "write": (),
    }

    def __init__(self, output_stream: IOutputStream = _NOT_GIVEN, /) -> None:
        self._stream = None
        stream: Any = None
        if output_stream is not _NOT_GIVEN:
            stream = check_object(output_stream, IOutputStream, "output_stream")  # type: ignore[type-abstract]
        StreamOwner.__init__(self)
        self._data = bytearray()
        # What a store has handed over, until the stream takes some of it.
        self._in_flight: Any = None
        self._stream = stream
        self._start = getattr(stream, "_start_write", None)

    @property
    def unstored_buffer_length(self) -> int:
        """The number of bytes that are written and not handed to the stream yet. RO_E_CLOSED after `close()`."""
        if self._closed:
            self._check("unstored_buffer_length")
        if self._in_flight is not None:
            self._take_back()
        return len(self._data)

    # -- storing -----------------------------------------------------------------------------------------------------

    def store_async(self) -> DataWriterStoreOperation:
        """Hand everything written so far to the stream, in one write; gives the number of bytes, 0 for nothing.

        When the write fails and the stream took nothing of it, the bytes stay and can be stored again.

        Errors: ERROR_INVALID_OPERATION 0x800710DD while another store is under way; E_ILLEGAL_METHOD_CALL 0x8000000E
        without a stream; RO_E_CLOSED 0x80000013; those of the stream, through the operation. Cancellation: as for the
        stream's `write_async`; on a StreamSocket *object now broken*. Source: WinRT DataWriter.StoreAsync.
        """
        if self._start is None or self._busy or self._pending is not None:
            self._check("store_async")
        if self._in_flight is not None:
            self._take_back()
        data = self._data
        operation: Any
        if not data:
            operation = completed_operation(current_home(), STORE, 0)
            return operation  # type: ignore[no-any-return]
        self._in_flight = data
        self._data = bytearray()
        if self._start is None:
            operation = self._pending = start_operation(current_home(), self._write(self._stream, data), STORE)
            return operation  # type: ignore[no-any-return]
        self._busy = True
        try:
            operation = self._start(data, len(data), self._stored, STORE)
        except BaseException:
            self._busy = False
            raise
        return operation  # type: ignore[no-any-return]

    def _stored(self, operation: Operation, state: int) -> None:
        """The store that went the short way has ended (home thread)."""
        if state == _COMPLETED or operation.done_bytes > 0:
            self._in_flight = None
        self._busy = False

    async def _write(self, stream: Any, data: bytearray) -> int:
        """Store the long way (home thread)."""
        buffer = wrap(data)
        buffer.length = len(data)
        operation = stream.write_async(buffer)
        try:
            written = index(await operation)
        except BaseException:
            if getattr(operation, "done_bytes", 0) > 0:
                self._in_flight = None
            raise
        if not 0 <= written <= len(data):
            raise errors.make(errors.E_FAIL, f"{stream!r} claims to have written {written} of {len(data)} bytes")
        self._in_flight = bytes(memoryview(data)[written:]) or None
        return written

    def _take_back(self) -> None:
        """Put what a failed store did not write in front again (program's thread)."""
        if self._is_busy():
            return
        rest = self._in_flight
        self._in_flight = None
        if rest is not None:
            self._data = bytearray(rest) + self._data

    def flush_async(self) -> IAsyncOperation[bool]:
        """Flush the stream: gives True when all writes issued on it have ended well. Stores nothing by itself.

        Errors: E_ILLEGAL_METHOD_CALL 0x8000000E without a stream; RO_E_CLOSED 0x80000013; those of the stream.
        Cancellation: *retry safe* on socket streams. Source: WinRT DataWriter.FlushAsync.
        """
        self._check("flush_async")
        stream = self._stream
        operation: Any
        if self._start is not None:
            operation = stream.flush_async()
        else:
            operation = start_operation(current_home(), _flush(stream), OPERATION)
        return operation  # type: ignore[no-any-return]

    # -- writing -----------------------------------------------------------------------------------------------------

    def _append(self, data: bytes | memoryview) -> None:
        if self._closed:
            self._check("write")
        if len(self._data) + len(data) > UNSTORED_LIMIT:
            text = f"DataWriter: {len(self._data)} bytes are not stored; store_async() them first"
            raise errors.make(errors.E_OUTOFMEMORY, text)
        self._data += data

    def write_boolean(self, value: object, /) -> None:
        """Write one byte: 1 where `value` is true, else 0."""
        self._append(_BYTES[1 if value else 0])

    def write_byte(self, value: int, /) -> None:
        """Write one byte, 0 to 255."""
        self._append(_BYTES[check_uint(value, 8, "value")])

    def write_bytes(self, value: Array[int] | ReadableBuffer, /) -> None:
        """Write the bytes of `value`, an Array or any bytes-like object. TypeError for lists."""
        self._append(value if type(value) is bytes else bytes_view(value, "value"))

    def write_buffer(self, buffer: ReadableBuffer, start: int = _NOT_GIVEN, count: int = _NOT_GIVEN, /) -> None:
        """Write the bytes of `buffer` (a Buffer or any bytes-like object), or `count` of them from `start` on.

        Errors: E_BOUNDS 0x8000000B when they reach beyond its length. Source: WinRT DataWriter.WriteBuffer.
        """
        view = bytes_view(buffer, "buffer")
        if start is not _NOT_GIVEN:
            if count is _NOT_GIVEN:
                raise invalid_parameter_count()
            first = check_uint(start, 32, "start")
            stop = first + check_uint(count, 32, "count")
            if stop > len(view):
                text = f"DataWriter.write_buffer: bytes {first} to {stop} of a buffer of {len(view)}"
                raise errors.make(errors.E_BOUNDS, text)
            view = view[first:stop]
        self._append(view)

    write_buffer_range = deprecated_alias("write_buffer")

    def write_int16(self, value: int, /) -> None:
        """Write a signed 16-bit number."""
        pack = PACK_INT16[self._order]
        try:
            data = pack(value)
        except struct.error:
            data = pack(check_int(value, 16, "value"))
        self._append(data)

    def write_int32(self, value: int, /) -> None:
        """Write a signed 32-bit number."""
        pack = PACK_INT32[self._order]
        try:
            data = pack(value)
        except struct.error:
            data = pack(check_int(value, 32, "value"))
        self._append(data)

    def write_int64(self, value: int, /) -> None:
        """Write a signed 64-bit number."""
        pack = PACK_INT64[self._order]
        try:
            data = pack(value)
        except struct.error:
            data = pack(check_int(value, 64, "value"))
        self._append(data)

    def write_uint16(self, value: int, /) -> None:
        """Write an unsigned 16-bit number."""
        pack = PACK_UINT16[self._order]
        try:
            data = pack(value)
        except struct.error:
            data = pack(check_uint(value, 16, "value"))
        self._append(data)

    def write_uint32(self, value: int, /) -> None:
        """Write an unsigned 32-bit number."""
        pack = PACK_UINT32[self._order]
        try:
            data = pack(value)
        except struct.error:
            data = pack(check_uint(value, 32, "value"))
        self._append(data)

    def write_uint64(self, value: int, /) -> None:
        """Write an unsigned 64-bit number."""
        pack = PACK_UINT64[self._order]
        try:
            data = pack(value)
        except struct.error:
            data = pack(check_uint(value, 64, "value"))
        self._append(data)

    def write_single(self, value: float, /) -> None:
        """Write a 32-bit IEEE 754 number. OverflowError for a value that is too large for one."""
        pack = PACK_SINGLE[self._order]
        try:
            data = pack(value)
        except (struct.error, OverflowError):
            data = pack(check_single(value, "value"))
        self._append(data)

    def write_double(self, value: float, /) -> None:
        """Write a 64-bit IEEE 754 number."""
        pack = PACK_DOUBLE[self._order]
        try:
            data = pack(value)
        except struct.error:
            data = pack(check_float(value, "value"))
        self._append(data)

    def write_guid(self, value: UUID, /) -> None:
        """Write a GUID, 16 bytes: its 4-2-2 byte fields follow `byte_order`, the other 8 bytes stand as they are."""
        guid = check_guid(value, "value")
        self._append(guid.bytes if self._order else guid.bytes_le)

    def write_date_time(self, value: datetime, /) -> None:
        """Write a point in time as 100 ns ticks since 1601 UTC. A naive datetime counts as local time."""
        moment = check_datetime(value, "value")
        self._append(PACK_INT64[self._order](ticks_of(moment - EPOCH)))

    def write_time_span(self, value: timedelta, /) -> None:
        """Write a length of time as 100 ns ticks. OverflowError beyond 64 bits, which is some 29,000 years."""
        ticks = ticks_of(check_timedelta(value, "value"))
        self._append(PACK_INT64[self._order](check_int(ticks, 64, "value")))

    def write_string(self, value: str, /) -> int:
        """Write text, without mark, length or terminator; returns its code units, as `measure_string` does.

        Errors: ERROR_NO_UNICODE_TRANSLATION 0x80070459 for half of a surrogate pair. Source: WinRT
        DataWriter.WriteString.
        """
        data = self._encode(value)
        self._append(data)
        return len(data) // 2 if self._encoding else len(data)

    def measure_string(self, value: str, /) -> int:
        """The number of code units of `value`: bytes in UTF-8, 16-bit units in UTF-16. What `read_string` wants.

        Errors: as `write_string`. Source: WinRT DataWriter.MeasureString.
        """
        data = self._encode(value)
        return len(data) // 2 if self._encoding else len(data)

    def _encode(self, value: str) -> bytes:
        text = check_str(value, "value")
        codec = CODECS[self._encoding]
        try:
            return text.encode(codec)
        except UnicodeEncodeError as error:
            failure = error
        try:
            # WinRT's strings are UTF-16: there, two halves that stand side by side are one character.
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode(codec)
        except UnicodeDecodeError:
            reason = f"DataWriter: the text is not valid Unicode at {failure.start}: {failure.reason}"
            raise errors.make(errors.ERROR_NO_UNICODE_TRANSLATION, reason, cause=failure) from failure

    def write_struct(self, format: str, /, *values: Any) -> None:  # noqa: A002 (struct's own name for it)
        """Write the values of a `struct` format. Without a byte order mark, `byte_order` counts and nothing is padded.

        Errors: `struct.error` for a bad format, and for values that do not fit it.
        """
        if not format.startswith(NATIVE_ORDER_MARKS):
            format = FORMAT_PREFIXES[self._order] + format  # noqa: A001
        self._append(struct.pack(format, *values))

    # -- ending ------------------------------------------------------------------------------------------------------

    def detach_stream(self) -> IOutputStream:
        """Give the stream back, so that `close()` leaves it open; None where there is none. Unstored bytes stay.

        Errors: ERROR_INVALID_OPERATION 0x800710DD while a store is under way; RO_E_CLOSED 0x80000013.
        Source: WinRT DataWriter.DetachStream.
        """
        stream: IOutputStream = self._give_stream()
        return stream

    def detach_buffer(self) -> Buffer:
        """Give away what was written and not stored. Afterwards the writer is empty.

        Errors: ERROR_INVALID_OPERATION 0x800710DD while a store is under way; RO_E_CLOSED 0x80000013.
        Source: WinRT DataWriter.DetachBuffer.
        """
        self._check("detach_buffer")
        if self._in_flight is not None:
            self._take_back()
        data = self._data
        self._data = bytearray()
        buffer = wrap(data)
        buffer.length = len(data)
        return buffer

    def close(self) -> None:
        """Close the stream, unless it was detached, and drop what is not stored. A second call does nothing.

        A store that is under way ends as the stream's `close()` has it. Source: WinRT DataWriter.Close.
        """
        self._data = bytearray()
        self._in_flight = None
        StreamOwner.close(self)

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._data)} bytes not stored"
        return f"<DataWriter {state}>"


async def _flush(stream: Any) -> bool:
    return bool(await stream.flush_async())


if not cython.compiled:
    final(DataWriter)
IDataWriter.register(DataWriter)
IClosable.register(DataWriter)
