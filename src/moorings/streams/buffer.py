"""`Buffer`: memory with a length and a capacity, which the socket streams fill without a copy too many."""

# pyright: reportPrivateUsage=false
# The functions below the class make its objects; as methods they would be part of the public surface.

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.memory_buffer import IMemoryBuffer, MemoryBuffer, memory_buffer_over
from moorings.foundation.projection import check_object, final

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import BufferBase

if TYPE_CHECKING:
    from moorings.foundation.scalars import WriteableBuffer

_UINT32_LIMIT = 0x100000000


def _uint32(value: Any, name: str) -> int:
    number = index(value)
    if number < 0:
        raise ValueError(f"{name} must not be negative")
    if number >= _UINT32_LIMIT:
        raise OverflowError(f"{name} does not fit into 32 bits")
    return number


class Buffer(BufferBase):
    """A block of bytes with a fixed capacity and a length (WinRT IBuffer).

    `Buffer(capacity)` starts with length 0; memory is allocated when data arrives. It exports its first `length` bytes
    through the buffer protocol, writable; `bytes(buffer)` copies them and `len(buffer)` counts them. Two buffers are
    equal only if they are the same object.

    Errors: TypeError, ValueError or OverflowError for a capacity that is no unsigned 32-bit number; E_INVALIDARG
    0x80070057 for a length beyond the capacity. Source: WinRT Windows.Storage.Streams.Buffer.
    """

    def __init__(self, capacity: int, /) -> None:
        self._allocate(_uint32(capacity, "capacity"))

    @staticmethod
    def create_copy_from_memory_buffer(input: IMemoryBuffer, /) -> Buffer:  # noqa: A002 (WinRT's name for it)
        """A Buffer with a copy of the memory of `input`.

        Errors: E_INVALIDARG 0x80070057 for None; RO_E_CLOSED 0x80000013 for a closed MemoryBuffer. Source: WinRT
        Buffer.CreateCopyFromMemoryBuffer.
        """
        memory: Any = check_object(input, IMemoryBuffer, "input")  # type: ignore[type-abstract]
        # Before 3.12 the buffer protocol does not know the method.
        return copy_of(memory.__buffer__(0))

    @staticmethod
    def create_memory_buffer_over_ibuffer(input: WriteableBuffer, /) -> MemoryBuffer:  # noqa: A002
        """A MemoryBuffer over the valid bytes of `input`, a Buffer or a writable bytes-like object: no copy.

        Errors: TypeError for a read-only object; E_INVALIDARG 0x80070057 for None. Source: WinRT
        Buffer.CreateMemoryBufferOverIBuffer.
        """
        from moorings.streams.views import fillable_view  # noqa: PLC0415 (it needs this module)

        return memory_buffer_over(fillable_view(input, "input"))

    @property
    def capacity(self) -> int:
        """The largest number of bytes it can hold."""
        return self._limit()

    @property
    def length(self) -> int:
        """The number of valid bytes, at most `capacity`. Growing it shows zeros, or what was there before."""
        return len(self)

    @length.setter
    def length(self, value: int) -> None:
        number = _uint32(value, "length")
        if number > self._limit():
            raise errors.invalid_argument(f"Buffer.length {number} is larger than the capacity {self._limit()}")
        self._set_used(number)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self) >> 4

    def __repr__(self) -> str:
        return f"<Buffer length={self._used()} capacity={self._limit()}>"

    def __str__(self) -> str:
        return self.__repr__()


if not cython.compiled:
    final(Buffer)  # compiled, the .pxd says so


def wrap(target: WriteableBuffer) -> Buffer:
    """A Buffer over the memory of a writable bytes-like object: length 0, capacity its size.

    Errors: TypeError for a read-only object.
    """
    view = memoryview(target)
    if view.readonly:
        raise TypeError(f"a writable bytes-like object is needed, not {type(target).__name__}")
    buffer: Any = Buffer(0)
    buffer._wrap(view)
    return buffer  # type: ignore[no-any-return]


def fill(target: Any, data: Any) -> None:
    """Make `data`, which must fit, the contents of the Buffer `target`."""
    target._put(0, data)
    target._set_used(memoryview(data).nbytes)


def copy_of(data: Any) -> Buffer:
    """A Buffer that holds a copy of `data`."""
    buffer = Buffer(memoryview(data).nbytes)
    fill(buffer, data)
    return buffer
