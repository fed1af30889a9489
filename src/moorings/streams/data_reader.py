"""`DataReader`: typed values out of a stream, or out of a buffer.

Theory of operation
-------------------
A load gives the stream one fresh Buffer to fill. Socket streams take it the short way: `_start_read` makes an operation
of kind LOAD and calls `_loaded` when it has ended, whatever the end, so that what arrived before a failure is kept. Any
other IInputStream goes the long way: a coroutine awaits its `read_async`.

Both ways end on the home thread, which in a plain script is not the program's. They touch only `_arrived`, which the
program's thread *absorbs* when it next looks: the Buffer becomes the memory that is read from, without a copy; where
bytes were left over, everything moves into one growing bytearray. So `_memory` is always one contiguous object, and
reading a number is one call of a precompiled `struct` unpacker. Bytes [`_position`, `_end`) are loaded and not read.
After `close()` `_end` is -1, so that every read comes to `_need`, which refuses.

Source: WinRT DataReader; its default byte order and value formats as used by the Windows samples.
"""

from __future__ import annotations

import asyncio
import struct
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from moorings import errors
from moorings.foundation.closable import IClosable
from moorings.foundation.home import current_home
from moorings.foundation.operation import LOAD
from moorings.foundation.projection import check_enum, check_object, check_uint, final
from moorings.foundation.task_operation import completed_operation, start_operation
from moorings.streams.buffer import Buffer, copy_of
from moorings.streams.enums import InputStreamOptions
from moorings.streams.formats import (
    CODECS,
    EPOCH,
    FORMAT_PREFIXES,
    NATIVE_ORDER_MARKS,
    UNPACK_DOUBLE,
    UNPACK_INT16,
    UNPACK_INT32,
    UNPACK_INT64,
    UNPACK_SINGLE,
    UNPACK_UINT16,
    UNPACK_UINT32,
    UNPACK_UINT64,
    microseconds_of,
)
from moorings.streams.interfaces import IDataReader, IInputStream
from moorings.streams.stream_owner import BUSY, NO_STREAM, StreamOwner
from moorings.streams.views import bytes_view, check_separator, fillable_view

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moorings.foundation.async_info import DataReaderLoadOperation
    from moorings.foundation.operation import Operation
    from moorings.foundation.scalars import ReadableBuffer, WriteableBuffer
    from moorings.foundation.winrt_array import Array

__all__ = ["READ_UNTIL_LIMIT", "DataReader", "reader_over"]

#: Bytes that `read_until` and `lines` look through before they give up.
READ_UNTIL_LIMIT = 65536
#: Bytes that one load of `read_until` and `lines` asks for.
READ_SIZE = 65536
#: `unconsumed_buffer_length` is an unsigned 32-bit number: no load goes beyond.
UNCONSUMED_LIMIT = 0xFFFFFFFF

_COMPLETED = 1
_NONE = 0
_PARTIAL = 1
_KNOWN_OPTIONS = 3
_NOTHING = b""


class DataReader(StreamOwner):
    """Reads numbers, text, times and bytes out of what was loaded.

    `DataReader(input_stream)` takes over the stream: `load_async` fills the memory from it, the `read_*` members take
    from the memory, `close()` closes it. `DataReader.from_buffer(buffer)` starts with all bytes loaded.

    One operation at a time. A `read_*` member for which too few bytes are loaded fails with E_BOUNDS 0x8000000B and
    takes nothing. A reader that is dropped with an open stream warns with a ResourceWarning and leaves it open.
    """

    __slots__ = ("_arrived", "_attached", "_chunk", "_end", "_memory", "_options", "_position", "_target")

    RULES = {  # noqa: RUF012 (compiled classes have no annotated attributes)
        "load_async": (NO_STREAM, BUSY),
        "detach_stream": (BUSY,),
        "detach_buffer": (BUSY,),
        "unconsumed_buffer_length": (),
        "read": (),
    }

    def __init__(self, input_stream: IInputStream, /) -> None:
        self._stream = None
        stream: Any = check_object(input_stream, IInputStream, "input_stream")  # type: ignore[type-abstract]
        self._prepare()
        self._stream = stream
        self._start = getattr(stream, "_start_read", None)

    def _prepare(self) -> None:
        StreamOwner.__init__(self)
        self._options = 0
        # Where a load under way puts its bytes; what the last one brought and nobody has absorbed yet.
        self._target: Any = None
        self._arrived: Any = None
        # The memory that is read from: bytes, a bytearray, or a memoryview over `_chunk`, which nobody else knows.
        self._memory: Any = _NOTHING
        self._chunk: Buffer | None = None
        self._position = 0
        self._end = 0
        # What `from_buffer` was given.
        self._attached: Any = None

    @staticmethod
    def from_buffer(buffer: ReadableBuffer, /) -> DataReader:
        """A reader over the bytes of `buffer` (a Buffer or any bytes-like object), all loaded. It has no stream.

        It reads a copy: the buffer may change or be used again at once.

        Errors: TypeError for an object that is not bytes-like. Source: WinRT DataReader.FromBuffer.
        """
        reader = reader_over(buffer if type(buffer) is bytes else bytes(bytes_view(buffer, "buffer")))
        if isinstance(buffer, Buffer):
            reader._attached = buffer
        return reader

    @property
    def input_stream_options(self) -> InputStreamOptions:
        """When a load is done; default NONE: all bytes have come, or the stream ended. Usable after `close()`, too."""
        return InputStreamOptions(self._options)

    @input_stream_options.setter
    def input_stream_options(self, value: InputStreamOptions) -> None:
        options = int(check_enum(value, InputStreamOptions, "input_stream_options"))
        if options & ~_KNOWN_OPTIONS:
            raise errors.invalid_argument(f"input_stream_options has unknown bits: {options}")
        self._options = options

    @property
    def unconsumed_buffer_length(self) -> int:
        """The number of bytes that are loaded and not read yet. RO_E_CLOSED after `close()`."""
        if self._closed:
            self._check("unconsumed_buffer_length")
        if self._arrived is not None:
            self._absorb()
        return self._end - self._position

    # -- loading -----------------------------------------------------------------------------------------------------

    def load_async(self, count: int, /) -> DataReaderLoadOperation:
        """Load up to `count` bytes behind those not read yet; gives their number. 0 is the end of the stream.

        `input_stream_options` say when it is done; with NONE, fewer bytes than `count` mean that the stream ended.

        Errors: ERROR_INVALID_OPERATION 0x800710DD while another load is under way; E_ILLEGAL_METHOD_CALL 0x8000000E
        without a stream; RO_E_CLOSED 0x80000013; those of the stream, through the operation. Whatever the end, bytes
        that arrived can be read. Cancellation: as for the stream's `read_async`; on a StreamSocket *object now broken*.
        Source: WinRT DataReader.LoadAsync.
        """
        if type(count) is not int or not 0 <= count <= UNCONSUMED_LIMIT:
            count = check_uint(count, 32, "count")
        return self._start_load(count, self._options)

    def _start_load(self, count: int, options: int) -> Operation:
        if self._start is None or self._busy or self._pending is not None:
            self._check("load_async")
        if count == 0:
            return completed_operation(current_home(), LOAD, 0)
        if self._arrived is not None:
            self._absorb()
        unread = self._end - self._position
        if unread == 0:
            # While the program waits it holds no memory.
            self._memory = _NOTHING
            self._chunk = None
            self._position = self._end = 0
        elif count > UNCONSUMED_LIMIT - unread:
            count = self._limit(unread)
        target = Buffer(count)
        if self._start is None:
            coroutine = self._read(self._stream, target, count, InputStreamOptions(options))
            self._pending = start_operation(current_home(), coroutine, LOAD)
            return self._pending
        self._target = target
        self._busy = True
        try:
            operation: Operation = self._start(target, count, options, self._loaded, LOAD)
        except BaseException:
            self._busy = False
            self._target = None
            raise
        return operation

    def _limit(self, unread: int) -> int:
        if unread >= UNCONSUMED_LIMIT:
            raise errors.make(errors.E_OUTOFMEMORY, f"DataReader: {unread} bytes are loaded and not read; read some")
        return UNCONSUMED_LIMIT - unread

    def _loaded(self, operation: Operation, state: int) -> None:
        """The load that went the short way has ended (home thread)."""
        target = self._target
        self._target = None
        count = operation.done_bytes
        if count > 0 and not self._closed:
            if target.length != count:
                target.length = count
            self._arrived = target
        if state == _COMPLETED:
            operation.result_value = count
        self._busy = False

    async def _read(self, stream: Any, target: Buffer, count: int, options: InputStreamOptions) -> int:
        """Load the long way (home thread)."""
        received: Any = target
        try:
            received = await stream.read_async(target, count, options)
        finally:
            # After a failure: what the stream says is in the buffer that it was given.
            if not self._closed and len(received):
                self._arrived = received if received is target else bytes(bytes_view(received, "the stream's buffer"))
        return len(received)

    def _absorb(self) -> None:
        """Make what arrived readable (program's thread)."""
        arrived = self._arrived
        self._arrived = None
        unread = self._end - self._position
        if unread == 0:
            self._chunk = arrived if isinstance(arrived, Buffer) else None
            self._memory = memoryview(arrived)
            self._end = len(arrived)
        else:
            memory = self._flatten()
            del memory[: self._position]
            memory += arrived
            self._end = len(memory)
        self._position = 0

    def _flatten(self) -> bytearray:
        """Make the memory a bytearray, which can grow and be searched."""
        memory = self._memory
        if type(memory) is not bytearray:
            memory = self._memory = bytearray(memory)
            self._chunk = None
        return memory

    def _need(self, count: int) -> int:
        """Fewer than `count` bytes are at hand: take what has arrived meanwhile, or refuse."""
        if self._closed:
            self._check("read")
        if self._arrived is not None:
            self._absorb()
        position = self._position
        if position + count > self._end:
            have = self._end - position
            text = f"DataReader: {count} bytes are needed and {have} are loaded; load_async() more first"
            raise errors.make(errors.E_BOUNDS, text)
        self._position = position + count
        return position

    def _take(self, count: int) -> int:
        """Consume `count` bytes and return where they begin."""
        position = self._position
        end = position + count
        if end > self._end:
            return self._need(count)
        self._position = end
        return position

    def _take_bytes(self, count: int) -> bytes:
        position = self._take(count)
        return bytes(self._memory[position : position + count])

    # -- reading -----------------------------------------------------------------------------------------------------

    def read_boolean(self) -> bool:
        """Read one byte; False for zero, True for others."""
        position = self._take(1)
        return bool(self._memory[position])

    def read_byte(self) -> int:
        """Read one byte, 0 to 255."""
        position = self._take(1)
        value: int = self._memory[position]
        return value

    def read_bytes(self, value: Array[int] | WriteableBuffer, /) -> None:
        """Fill `value` (an Array or a writable bytes-like object) with as many bytes as it has.

        Errors: TypeError for lists and read-only objects; E_BOUNDS 0x8000000B when fewer bytes are loaded.
        """
        view = fillable_view(value, "value")
        count = len(view)
        position = self._take(count)
        view[:] = self._memory[position : position + count]

    def read_buffer(self, length: int, /) -> Buffer:
        """Read `length` bytes as a Buffer. Reading exactly what one load brought copies nothing."""
        count = check_uint(length, 32, "length")
        position = self._take(count)
        chunk = self._chunk
        if chunk is not None and count == self._end:
            self._memory.release()
            self._memory = _NOTHING
            self._chunk = None
            self._position = self._end = 0
            return chunk
        return copy_of(self._memory[position : position + count])

    def read_int16(self) -> int:
        """Read a signed 16-bit number."""
        position = self._take(2)
        value: int = UNPACK_INT16[self._order](self._memory, position)[0]
        return value

    def read_int32(self) -> int:
        """Read a signed 32-bit number."""
        position = self._take(4)
        value: int = UNPACK_INT32[self._order](self._memory, position)[0]
        return value

    def read_int64(self) -> int:
        """Read a signed 64-bit number."""
        position = self._take(8)
        value: int = UNPACK_INT64[self._order](self._memory, position)[0]
        return value

    def read_uint16(self) -> int:
        """Read an unsigned 16-bit number."""
        position = self._take(2)
        value: int = UNPACK_UINT16[self._order](self._memory, position)[0]
        return value

    def read_uint32(self) -> int:
        """Read an unsigned 32-bit number."""
        position = self._take(4)
        value: int = UNPACK_UINT32[self._order](self._memory, position)[0]
        return value

    def read_uint64(self) -> int:
        """Read an unsigned 64-bit number."""
        position = self._take(8)
        value: int = UNPACK_UINT64[self._order](self._memory, position)[0]
        return value

    def read_single(self) -> float:
        """Read a 32-bit IEEE 754 number."""
        position = self._take(4)
        value: float = UNPACK_SINGLE[self._order](self._memory, position)[0]
        return value

    def read_double(self) -> float:
        """Read a 64-bit IEEE 754 number."""
        position = self._take(8)
        value: float = UNPACK_DOUBLE[self._order](self._memory, position)[0]
        return value

    def read_guid(self) -> UUID:
        """Read a GUID, 16 bytes: its 4-2-2 byte fields follow `byte_order`, the other 8 bytes stand as they are."""
        data = self._take_bytes(16)
        return UUID(bytes=data) if self._order else UUID(bytes_le=data)

    def read_date_time(self) -> datetime:
        """Read a point in time, in UTC: signed 64-bit, 100 ns ticks since 1601. Microseconds are kept, ticks cut off.

        Errors: OverflowError, and nothing is taken, outside of the years 1 to 9999.
        """
        position = self._take(8)
        ticks = UNPACK_INT64[self._order](self._memory, position)[0]
        try:
            return EPOCH + timedelta(microseconds=microseconds_of(ticks))
        except OverflowError:
            self._position = position
            raise OverflowError(f"{ticks} ticks since 1601 is outside of the years 1 to 9999") from None

    def read_time_span(self) -> timedelta:
        """Read a length of time: signed 64-bit, 100 ns ticks. Microseconds are kept, ticks cut off."""
        return timedelta(microseconds=microseconds_of(self.read_int64()))

    def read_string(self, code_unit_count: int, /) -> str:
        """Read text of `code_unit_count` code units: bytes in UTF-8, 16-bit units in UTF-16.

        Errors: ERROR_NO_UNICODE_TRANSLATION 0x80070459, and nothing is taken, where the bytes are not valid text, or
        where the count cuts a character; E_BOUNDS 0x8000000B. Source: WinRT DataReader.ReadString.
        """
        count = check_uint(code_unit_count, 32, "code_unit_count")
        if self._encoding:
            count *= 2
        position = self._take(count)
        try:
            return str(self._memory[position : position + count], CODECS[self._encoding])
        except UnicodeDecodeError as error:
            self._position = position
            text = (
                f"DataReader: the bytes are no valid {self.unicode_encoding.name} text at {error.start}: {error.reason}"
            )
            raise errors.make(errors.ERROR_NO_UNICODE_TRANSLATION, text, cause=error) from error

    # -- the Python face ---------------------------------------------------------------------------------------------

    def read_struct(self, format: str, /) -> tuple[Any, ...]:  # noqa: A002 (struct's own name for it)
        """Read the values of a `struct` format. Without a byte order mark, `byte_order` counts and nothing is padded.

        Errors: `struct.error` for a bad format; E_BOUNDS 0x8000000B.
        """
        if not format.startswith(NATIVE_ORDER_MARKS):
            format = FORMAT_PREFIXES[self._order] + format  # noqa: A001
        position = self._take(struct.calcsize(format))
        return struct.unpack_from(format, self._memory, position)

    async def read_exactly(self, n: int) -> bytes:
        """Read exactly `n` bytes, and load what is missing.

        Errors: `asyncio.IncompleteReadError`, with the bytes that came, when the stream ends before; else those of
        `load_async`. Cancellation: *retry safe* on socket streams: what has arrived stays for the next read.
        """
        if n < 0:
            raise ValueError("n must not be negative")
        missing = n - self.unconsumed_buffer_length
        while missing > 0:
            if not await self._load_more(missing, _NONE):
                raise asyncio.IncompleteReadError(self._take_bytes(self.unconsumed_buffer_length), n)
            missing = n - self.unconsumed_buffer_length
        return self._take_bytes(n)

    async def read_until(self, separator: bytes = b"\n", limit: int = READ_UNTIL_LIMIT) -> bytes:
        """Read up to and including `separator`, at most `limit` bytes (default 64 KiB), and load what is missing.

        It may load more than it reads; the rest stays for the next read.

        Errors: `asyncio.IncompleteReadError`, with the bytes that came, when the stream ends before;
        `asyncio.LimitOverrunError` when `limit` bytes hold no separator (they stay); else those of `load_async`.
        Cancellation: *retry safe* on socket streams: what has arrived stays for the next read.
        """
        check_separator(separator, limit)
        start = 0
        while True:
            size = self.unconsumed_buffer_length
            found = self._flatten().find(separator, self._position + start) - self._position if size else -1
            stop = found + len(separator)
            if found >= 0 and stop <= limit:
                return self._take_bytes(stop)
            if found >= 0 or size >= limit:
                raise asyncio.LimitOverrunError(f"no separator within {limit} bytes; read them or raise limit", size)
            start = max(0, size - len(separator) + 1)
            if not await self._load_more(READ_SIZE, _PARTIAL):
                raise asyncio.IncompleteReadError(self._take_bytes(size), None)

    async def lines(self, limit: int = READ_UNTIL_LIMIT) -> AsyncIterator[bytes]:
        r"""Iterate over lines, without their end (\n or \r\n); a last line without an end counts too.

        Errors: `asyncio.LimitOverrunError` for a line longer than `limit` bytes (default 64 KiB); else those of
        `load_async`. Cancellation: *retry safe* on socket streams.
        """
        while True:
            try:
                line = await self.read_until(b"\n", limit)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    yield error.partial
                return
            yield line[:-2] if line.endswith(b"\r\n") else line[:-1]

    async def _load_more(self, count: int, options: int) -> int:
        """Load with asyncio's manners: without a stream nothing comes, and a cancelled task leaves a socket alone."""
        if self._stream is None and not self._closed:
            return 0
        operation = self._start_load(count, options)
        operation.face = True
        loaded: int = await operation
        return loaded

    # -- ending ------------------------------------------------------------------------------------------------------

    def detach_stream(self) -> IInputStream:
        """Give the stream back, so that `close()` leaves it open; None where there is none. Loaded bytes stay readable.

        Errors: ERROR_INVALID_OPERATION 0x800710DD while a load is under way; RO_E_CLOSED 0x80000013.
        Source: WinRT DataReader.DetachStream.
        """
        stream: IInputStream = self._give_stream()
        return stream

    def detach_buffer(self) -> Buffer:
        """Give the memory away: the buffer that `from_buffer` got, whole, or else the bytes not read yet.

        Afterwards nothing is loaded.

        Errors: ERROR_INVALID_OPERATION 0x800710DD while a load is under way; RO_E_CLOSED 0x80000013.
        Source: WinRT DataReader.DetachBuffer.
        """
        self._check("detach_buffer")
        attached = self._attached
        self._attached = None
        if attached is None:
            return self.read_buffer(self.unconsumed_buffer_length)
        self._forget()
        return attached if isinstance(attached, Buffer) else copy_of(attached)

    def _forget(self) -> None:
        self._memory = _NOTHING
        self._chunk = self._arrived = self._attached = None
        self._position = self._end = 0

    def close(self) -> None:
        """Close the stream, unless it was detached, and drop what is loaded. A second call does nothing.

        A load that is under way ends as the stream's `close()` has it. Source: WinRT DataReader.Close.
        """
        self._forget()
        self._end = -1
        StreamOwner.close(self)

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        arrived = self._arrived
        loaded = self._end - self._position + (0 if arrived is None else len(arrived))
        state = "closed" if self._closed else f"{loaded} bytes loaded"
        return f"<DataReader {state}>"


def reader_over(data: bytes | bytearray | memoryview) -> DataReader:
    """A DataReader over memory that nobody changes any more, without a copy. For the library's own messages."""
    reader: Any = DataReader.__new__(DataReader)
    reader._prepare()
    reader._memory = reader._attached = data
    reader._end = len(data)
    return reader  # type: ignore[no-any-return]


if not cython.compiled:
    final(DataReader)
IDataReader.register(DataReader)
IClosable.register(DataReader)
