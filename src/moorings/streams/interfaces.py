"""The interfaces of `Windows.Storage.Streams`.

A Python class may derive from any of them and is then taken wherever the interface is asked for; all abstract members
must be there. The library's own classes are registered, so `isinstance` says yes for them too. A stream written in
Python may implement `read_async`, `write_async` and `flush_async` as `async def`: any awaitable will do.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from moorings.foundation.closable import IClosable
from moorings.foundation.projection import Object, deprecated_alias
from moorings.streams.buffer import Buffer

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from moorings.foundation.async_info import (
        DataReaderLoadOperation,
        DataWriterStoreOperation,
        IAsyncOperation,
        IAsyncOperationWithProgress,
    )
    from moorings.foundation.scalars import ReadableBuffer, WriteableBuffer
    from moorings.foundation.winrt_array import Array
    from moorings.streams.enums import ByteOrder, InputStreamOptions, UnicodeEncoding

__all__ = [
    "IBuffer",
    "IContentTypeProvider",
    "IDataReader",
    "IDataWriter",
    "IInputStream",
    "IInputStreamReference",
    "IOutputStream",
    "IPropertySetSerializer",
    "IRandomAccessStream",
    "IRandomAccessStreamReference",
    "IRandomAccessStreamWithContentType",
]


class IBuffer(Object):
    """A block of bytes with a capacity and a length. Exports its first `length` bytes through the buffer protocol."""

    __slots__ = ()

    @property
    @abstractmethod
    def capacity(self) -> int:
        """The largest number of bytes it can hold."""

    @property
    @abstractmethod
    def length(self) -> int:
        """The number of valid bytes, at most `capacity`."""

    @length.setter
    @abstractmethod
    def length(self, value: int) -> None: ...

    @abstractmethod
    def __buffer__(self, flags: int, /) -> memoryview:
        raise NotImplementedError

    def __len__(self) -> int:
        return self.length


class IInputStream(IClosable):
    """A sequence of bytes to read."""

    __slots__ = ()

    @abstractmethod
    def read_async(
        self, buffer: WriteableBuffer, count: int, options: InputStreamOptions, /
    ) -> IAsyncOperationWithProgress[Any, int]:
        """Read up to *count* bytes into *buffer* and give a buffer with them, which need not be the same one.

        *options* tell when the read is done. Length 0 is the end of the stream. *count* is at most the capacity.
        """


class IOutputStream(IClosable):
    """A sequence of bytes to write."""

    __slots__ = ()

    @abstractmethod
    def write_async(self, buffer: ReadableBuffer, /) -> IAsyncOperationWithProgress[int, int]:
        """Write the bytes of *buffer*, which must not change until it is done, and give their number."""

    @abstractmethod
    def flush_async(self) -> IAsyncOperation[bool]:
        """Finish the writes issued so far; gives whether that succeeded."""


class IDataReader(Object):
    """Reads typed values out of bytes that were loaded from a stream, or given as a buffer. See `DataReader`."""

    __slots__ = ()

    @property
    @abstractmethod
    def byte_order(self) -> ByteOrder:
        """Byte order of the numbers."""

    @byte_order.setter
    @abstractmethod
    def byte_order(self, value: ByteOrder) -> None: ...

    @property
    @abstractmethod
    def unicode_encoding(self) -> UnicodeEncoding:
        """Encoding of the text."""

    @unicode_encoding.setter
    @abstractmethod
    def unicode_encoding(self, value: UnicodeEncoding) -> None: ...

    @property
    @abstractmethod
    def input_stream_options(self) -> InputStreamOptions:
        """When a load is done."""

    @input_stream_options.setter
    @abstractmethod
    def input_stream_options(self, value: InputStreamOptions) -> None: ...

    @property
    @abstractmethod
    def unconsumed_buffer_length(self) -> int:
        """Bytes that are loaded and not read yet."""

    @abstractmethod
    def load_async(self, count: int, /) -> DataReaderLoadOperation:
        """Load up to *count* bytes."""

    @abstractmethod
    def detach_buffer(self) -> Any:
        """Give the buffer away."""

    @abstractmethod
    def detach_stream(self) -> IInputStream:
        """Give the stream away."""

    @abstractmethod
    def read_boolean(self) -> bool:
        """Read one byte; False for zero."""

    @abstractmethod
    def read_buffer(self, length: int, /) -> Any:
        """Read *length* bytes as a buffer."""

    @abstractmethod
    def read_byte(self) -> int:
        """Read one byte."""

    @abstractmethod
    def read_bytes(self, value: Array[int] | WriteableBuffer, /) -> None:
        """Fill *value*."""

    @abstractmethod
    def read_date_time(self) -> datetime:
        """Read a point in time."""

    @abstractmethod
    def read_double(self) -> float:
        """Read a 64-bit float."""

    @abstractmethod
    def read_guid(self) -> UUID:
        """Read a GUID."""

    @abstractmethod
    def read_int16(self) -> int:
        """Read a signed 16-bit number."""

    @abstractmethod
    def read_int32(self) -> int:
        """Read a signed 32-bit number."""

    @abstractmethod
    def read_int64(self) -> int:
        """Read a signed 64-bit number."""

    @abstractmethod
    def read_single(self) -> float:
        """Read a 32-bit float."""

    @abstractmethod
    def read_string(self, code_unit_count: int, /) -> str:
        """Read text of *code_unit_count* code units."""

    @abstractmethod
    def read_time_span(self) -> timedelta:
        """Read a length of time."""

    @abstractmethod
    def read_uint16(self) -> int:
        """Read an unsigned 16-bit number."""

    @abstractmethod
    def read_uint32(self) -> int:
        """Read an unsigned 32-bit number."""

    @abstractmethod
    def read_uint64(self) -> int:
        """Read an unsigned 64-bit number."""


class IDataWriter(Object):
    """Collects typed values as bytes, for a stream or a buffer. See `DataWriter`."""

    __slots__ = ()

    @property
    @abstractmethod
    def byte_order(self) -> ByteOrder:
        """Byte order of the numbers."""

    @byte_order.setter
    @abstractmethod
    def byte_order(self, value: ByteOrder) -> None: ...

    @property
    @abstractmethod
    def unicode_encoding(self) -> UnicodeEncoding:
        """Encoding of the text."""

    @unicode_encoding.setter
    @abstractmethod
    def unicode_encoding(self, value: UnicodeEncoding) -> None: ...

    @property
    @abstractmethod
    def unstored_buffer_length(self) -> int:
        """Bytes that are written and not stored yet."""

    @abstractmethod
    def store_async(self) -> DataWriterStoreOperation:
        """Hand the bytes to the stream."""

    @abstractmethod
    def flush_async(self) -> IAsyncOperation[bool]:
        """Flush the stream."""

    @abstractmethod
    def detach_buffer(self) -> Any:
        """Give the bytes away."""

    @abstractmethod
    def detach_stream(self) -> IOutputStream:
        """Give the stream away."""

    @abstractmethod
    def measure_string(self, value: str, /) -> int:
        """Count the code units of *value*."""

    @abstractmethod
    def write_boolean(self, value: object, /) -> None:
        """Write one byte: 1 for true, 0 for false."""

    @abstractmethod
    def write_buffer(self, buffer: ReadableBuffer, start: int = ..., count: int = ..., /) -> None:
        """Write the bytes of *buffer*, or *count* of them from *start* on."""

    write_buffer_range = deprecated_alias("write_buffer")

    @abstractmethod
    def write_byte(self, value: int, /) -> None:
        """Write one byte."""

    @abstractmethod
    def write_bytes(self, value: Array[int] | ReadableBuffer, /) -> None:
        """Write all bytes of *value*."""

    @abstractmethod
    def write_date_time(self, value: datetime, /) -> None:
        """Write a point in time."""

    @abstractmethod
    def write_double(self, value: float, /) -> None:
        """Write a 64-bit float."""

    @abstractmethod
    def write_guid(self, value: UUID, /) -> None:
        """Write a GUID."""

    @abstractmethod
    def write_int16(self, value: int, /) -> None:
        """Write a signed 16-bit number."""

    @abstractmethod
    def write_int32(self, value: int, /) -> None:
        """Write a signed 32-bit number."""

    @abstractmethod
    def write_int64(self, value: int, /) -> None:
        """Write a signed 64-bit number."""

    @abstractmethod
    def write_single(self, value: float, /) -> None:
        """Write a 32-bit float."""

    @abstractmethod
    def write_string(self, value: str, /) -> int:
        """Write text; returns its code units."""

    @abstractmethod
    def write_time_span(self, value: timedelta, /) -> None:
        """Write a length of time."""

    @abstractmethod
    def write_uint16(self, value: int, /) -> None:
        """Write an unsigned 16-bit number."""

    @abstractmethod
    def write_uint32(self, value: int, /) -> None:
        """Write an unsigned 32-bit number."""

    @abstractmethod
    def write_uint64(self, value: int, /) -> None:
        """Write an unsigned 64-bit number."""


class IContentTypeProvider(Object):
    """Something that knows the format of its data."""

    __slots__ = ()

    @property
    @abstractmethod
    def content_type(self) -> str:
        """The MIME type, such as `"image/png"`."""


class IRandomAccessStream(IOutputStream, IInputStream):
    """Bytes that can be read and written anywhere."""

    __slots__ = ()

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of bytes; settable."""

    @size.setter
    @abstractmethod
    def size(self, value: int) -> None: ...

    @property
    @abstractmethod
    def position(self) -> int:
        """Where the next read or write begins."""

    @property
    @abstractmethod
    def can_read(self) -> bool:
        """Whether it can be read."""

    @property
    @abstractmethod
    def can_write(self) -> bool:
        """Whether it can be written."""

    @abstractmethod
    def seek(self, position: int, /) -> None:
        """Set the position."""

    @abstractmethod
    def clone_stream(self) -> IRandomAccessStream:
        """Return another stream over the same bytes, with a position of its own."""

    @abstractmethod
    def get_input_stream_at(self, position: int, /) -> IInputStream:
        """Return an input stream that begins at *position*."""

    @abstractmethod
    def get_output_stream_at(self, position: int, /) -> IOutputStream:
        """Return an output stream that begins at *position*."""


class IRandomAccessStreamWithContentType(IContentTypeProvider, IRandomAccessStream):
    """A random access stream that knows the format of its data."""

    __slots__ = ()


class IInputStreamReference(Object):
    """Something that can be opened for sequential reading."""

    __slots__ = ()

    @abstractmethod
    def open_sequential_read_async(self) -> IAsyncOperation[IInputStream]:
        """Open it."""


class IRandomAccessStreamReference(Object):
    """Something that can be opened for random access."""

    __slots__ = ()

    @abstractmethod
    def open_read_async(self) -> IAsyncOperation[IRandomAccessStreamWithContentType]:
        """Open it."""


class IPropertySetSerializer(Object):
    """Turns property sets into bytes and back."""

    __slots__ = ()

    @abstractmethod
    def serialize(self, property_set: Any, /) -> Any:
        """Return a buffer with the contents of *property_set*."""

    @abstractmethod
    def deserialize(self, property_set: Any, buffer: ReadableBuffer, /) -> None:
        """Fill *property_set* from *buffer*."""


IBuffer.register(Buffer)
