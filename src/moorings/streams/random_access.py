"""`InMemoryRandomAccessStream`, bytes in memory as streams, and `RandomAccessStream`, which copies streams.

Reads and writes of memory are done when the call returns; their operations have ended already.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.home import current_home
from moorings.foundation.operation import OPERATION, OPERATION_WITH_PROGRESS
from moorings.foundation.projection import (
    check_enum,
    check_object,
    check_uint,
    deprecated_alias,
    final,
    not_constructible,
)
from moorings.foundation.task_operation import completed_operation, start_operation
from moorings.streams.buffer import Buffer, fill
from moorings.streams.enums import InputStreamOptions
from moorings.streams.interfaces import IInputStream, IOutputStream, IRandomAccessStream
from moorings.streams.views import bytes_view, fillable_buffer

if TYPE_CHECKING:
    from moorings.foundation.async_info import IAsyncOperation, IAsyncOperationWithProgress
    from moorings.foundation.operation import Operation
    from moorings.foundation.scalars import ReadableBuffer, WriteableBuffer

__all__ = ["InMemoryRandomAccessStream", "RandomAccessStream"]

#: Bytes that one in-memory stream can hold; beyond it fails with E_OUTOFMEMORY.
SIZE_LIMIT = 0x7FFFFFFF
#: Bytes that a copy moves at once.
COPY_SIZE = 65536


class _Contents:
    """The bytes that streams over the same memory share."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    def resize(self, size: int) -> None:
        """Cut off, or add zeros."""
        missing = size - len(self.data)
        if missing < 0:
            del self.data[size:]
        elif missing:
            try:
                if size > SIZE_LIMIT:
                    raise MemoryError
                self.data += bytes(missing)
            except MemoryError as error:
                reason = f"InMemoryRandomAccessStream: {size} bytes are too many"
                raise errors.make(errors.E_OUTOFMEMORY, reason, cause=error) from error

    def read(self, position: int, count: int) -> bytearray:
        return self.data[position : position + count]

    def write(self, position: int, view: memoryview) -> None:
        if len(view) == 0:
            return
        end = position + len(view)
        if end > len(self.data):
            self.resize(end)
        self.data[position:end] = view


class _Cursor:
    """A place in the contents, and whether it is closed."""

    __slots__ = ("_contents", "_name", "_position")

    def __init__(self, name: str, contents: _Contents, position: int) -> None:
        self._name = name
        self._contents: _Contents | None = contents
        self._position = position

    def open(self) -> _Contents:
        if self._contents is None:
            raise errors.closed(self._name)
        return self._contents

    @property
    def position(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        self.open()
        self._position = check_uint(position, 64, "position")

    def read(self, buffer: WriteableBuffer, count: int, options: InputStreamOptions) -> Operation:
        contents = self.open()
        target = fillable_buffer(buffer, "buffer")
        wanted = check_uint(count, 32, "count")
        check_enum(options, InputStreamOptions, "options")
        if wanted > target.capacity:
            text = f"read_async: count {wanted} is larger than the capacity {target.capacity}"
            raise errors.invalid_argument(text)
        data = contents.read(self._position, wanted)
        fill(target, data)
        self._position += len(data)
        return completed_operation(current_home(), OPERATION_WITH_PROGRESS, target)

    def write(self, buffer: ReadableBuffer) -> Operation:
        contents = self.open()
        view = bytes_view(buffer, "buffer")
        contents.write(self._position, view)
        self._position += len(view)
        return completed_operation(current_home(), OPERATION_WITH_PROGRESS, len(view))

    def flush(self) -> Operation:
        self.open()
        return completed_operation(current_home(), OPERATION, True)

    def close(self) -> None:
        self._contents = None


class _MemoryInputStream(IInputStream):
    """What `get_input_stream_at` returns."""

    __slots__ = ("__weakref__", "_cursor")

    def __init__(self, cursor: _Cursor) -> None:
        self._cursor = cursor

    def read_async(
        self, buffer: WriteableBuffer, count: int, options: InputStreamOptions, /
    ) -> IAsyncOperationWithProgress[Buffer, int]:
        return self._cursor.read(buffer, count, options)

    def close(self) -> None:
        self._cursor.close()


class _MemoryOutputStream(IOutputStream):
    """What `get_output_stream_at` returns."""

    __slots__ = ("__weakref__", "_cursor")

    def __init__(self, cursor: _Cursor) -> None:
        self._cursor = cursor

    def write_async(self, buffer: ReadableBuffer, /) -> IAsyncOperationWithProgress[int, int]:
        return self._cursor.write(buffer)

    def flush_async(self) -> IAsyncOperation[bool]:
        return self._cursor.flush()

    def close(self) -> None:
        self._cursor.close()


@final
class InMemoryRandomAccessStream(IRandomAccessStream):
    """Bytes in memory, to be read and written anywhere. It holds up to 2 GiB.

    Streams made from it share its bytes, and each has its own position and its own end; the bytes go with the last of
    them. After `close()` every member but `close` fails with RO_E_CLOSED 0x80000013.
    Source: WinRT InMemoryRandomAccessStream.
    """

    __slots__ = ("__weakref__", "_cursor")
    _winrt_name_ = "Windows.Storage.Streams.InMemoryRandomAccessStream"

    def __init__(self) -> None:
        self._cursor = _Cursor("InMemoryRandomAccessStream", _Contents(), 0)

    @property
    def size(self) -> int:
        """The number of bytes. Settable: a smaller one cuts off, a larger one adds zeros; the position stays.

        Errors: E_OUTOFMEMORY 0x8007000E beyond 2 GiB, or what the machine has.
        """
        return len(self._cursor.open().data)

    @size.setter
    def size(self, value: int) -> None:
        self._cursor.open().resize(check_uint(value, 64, "size"))

    @property
    def position(self) -> int:
        """Where the next read or write begins; it may be beyond the end."""
        self._cursor.open()
        return self._cursor.position

    @property
    def can_read(self) -> bool:
        """True."""
        self._cursor.open()
        return True

    @property
    def can_write(self) -> bool:
        """True."""
        self._cursor.open()
        return True

    def seek(self, position: int, /) -> None:
        """Set the position. Beyond the end, reads give nothing and a write fills the gap with zeros."""
        self._cursor.seek(position)

    def clone_stream(self) -> InMemoryRandomAccessStream:
        """Another stream over the same bytes, at position 0."""
        clone = InMemoryRandomAccessStream()
        clone._cursor = self._fork(0)
        return clone

    def get_input_stream_at(self, position: int, /) -> IInputStream:
        """An input stream over the same bytes that begins at `position`."""
        return _MemoryInputStream(self._fork(position))

    def get_output_stream_at(self, position: int, /) -> IOutputStream:
        """An output stream over the same bytes that begins at `position`."""
        return _MemoryOutputStream(self._fork(position))

    def _fork(self, position: int) -> _Cursor:
        contents = self._cursor.open()
        return _Cursor("stream in memory", contents, check_uint(position, 64, "position"))

    def read_async(
        self, buffer: WriteableBuffer, count: int, options: InputStreamOptions, /
    ) -> IAsyncOperationWithProgress[Buffer, int]:
        """Read up to `count` bytes into `buffer`, a Buffer or a writable bytes-like object; gives the filled Buffer.

        Fewer bytes, or none, mean the end. Errors: E_INVALIDARG 0x80070057 for a `count` beyond the capacity.
        Cancellation: it has always ended already. Source: WinRT IInputStream.ReadAsync.
        """
        return self._cursor.read(buffer, count, options)

    def write_async(self, buffer: ReadableBuffer, /) -> IAsyncOperationWithProgress[int, int]:
        """Write the bytes of `buffer` at the position, over what is there; gives their number.

        Errors: E_OUTOFMEMORY 0x8007000E beyond 2 GiB. Cancellation: it has always ended already.
        Source: WinRT IOutputStream.WriteAsync.
        """
        return self._cursor.write(buffer)

    def flush_async(self) -> IAsyncOperation[bool]:
        """Gives True: there is nothing to flush. Cancellation: it has always ended already."""
        return self._cursor.flush()

    def close(self) -> None:
        """Let go of the bytes. A second call does nothing."""
        self._cursor.close()


class _Copy:
    """One copy under way."""

    def __init__(self, source: IInputStream, destination: IOutputStream, limit: int | None, closes: bool) -> None:
        self._source = source
        self._destination = destination
        self._limit = limit
        self._closes = closes
        self._copied = 0
        self._operation: Operation | None = None

    def start(self) -> Operation:
        operation = self._operation = start_operation(current_home(), self._run(), OPERATION_WITH_PROGRESS)
        if self._closes:
            # Where the copy was cancelled before it began, its coroutine has never run.
            operation.home.call(operation.add_done_callback, self._close)
        return operation

    async def _run(self) -> int:
        try:
            while await self._move():
                if self._operation is not None:
                    self._operation.report_progress(self._copied)
            if self._closes:
                await self._destination.flush_async()
        finally:
            if self._closes:
                self._close()
        return self._copied

    async def _move(self) -> bool:
        """Copy one piece; False at the end."""
        count = COPY_SIZE
        if self._limit is not None and self._limit - self._copied < count:
            count = self._limit - self._copied
        if count == 0:
            return False
        piece = await self._source.read_async(Buffer(count), count, InputStreamOptions.PARTIAL)
        view = bytes_view(piece, "the source's buffer")
        if len(view) == 0:
            return False
        while len(view):
            written = index(await self._destination.write_async(view))
            if not 0 < written <= len(view):
                text = f"{self._destination!r} wrote {written} of {len(view)} bytes"
                raise errors.make(errors.E_FAIL, text)
            self._copied += written
            view = view[written:]
        return True

    def _close(self, _operation: Any = None) -> None:
        if self._closes:
            self._closes = False
            try:
                self._destination.close()
            finally:
                self._source.close()


def _start_copy(source: IInputStream, destination: IOutputStream, limit: int | None, closes: bool) -> Operation:
    check_object(source, IInputStream, "source")  # type: ignore[type-abstract]
    check_object(destination, IOutputStream, "destination")  # type: ignore[type-abstract]
    return _Copy(source, destination, limit, closes).start()


_NOT_GIVEN: Any = object()


@not_constructible
@final
class RandomAccessStream:
    """Copies streams. Has static members only. Source: WinRT RandomAccessStream."""

    @staticmethod
    def copy_async(
        source: IInputStream, destination: IOutputStream, bytes_to_copy: int = _NOT_GIVEN, /
    ) -> IAsyncOperationWithProgress[int, int]:
        """Copy `source` to `destination`, to its end or up to `bytes_to_copy` bytes; gives the number of bytes.

        Progress: bytes so far. Both streams stay open. Nothing is flushed.

        Errors: those of the streams. Cancellation: *object now broken*: how much was copied is unknown, and a
        StreamSocket's connection is taken down. Source: WinRT RandomAccessStream.CopyAsync.
        """
        limit = None if bytes_to_copy is _NOT_GIVEN else check_uint(bytes_to_copy, 64, "bytes_to_copy")
        return _start_copy(source, destination, limit, closes=False)

    copy_size_async = deprecated_alias("copy_async")

    @staticmethod
    def copy_and_close_async(
        source: IInputStream, destination: IOutputStream, /
    ) -> IAsyncOperationWithProgress[int, int]:
        """Copy `source` to `destination`, flush, and close both, whatever the end; gives the number of bytes.

        Progress: bytes so far. Errors: those of the streams. Cancellation: *object now broken*: both are closed.
        Source: WinRT RandomAccessStream.CopyAndCloseAsync.
        """
        return _start_copy(source, destination, None, closes=True)
