"""`MemoryBuffer`: a block of memory that is given out through references and released by `close()`.

The memory is exported through the buffer protocol on Python 3.12 and later; Python 3.11 has no way for a Python class
to do so, call `reference.__buffer__(0)` there. Source: WinRT `MemoryBuffer`, `IMemoryBufferReference`.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, TypeAlias

from moorings import errors
from moorings.foundation.closable import IClosable
from moorings.foundation.events import EventRegistrationToken, EventSource
from moorings.foundation.handler_errors import report_handler_error
from moorings.foundation.projection import Object, check_uint, final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IMemoryBuffer", "IMemoryBufferReference", "MemoryBuffer", "memory_buffer_over"]


class IMemoryBufferReference(IClosable):
    """A counted reference to the memory of an IMemoryBuffer."""

    __slots__ = ()

    @property
    @abstractmethod
    def capacity(self) -> int:
        """The size of the memory in bytes; 0 after `close()`."""

    @abstractmethod
    def add_closed(self, handler: ClosedHandler, /) -> EventRegistrationToken:
        """Call *handler* (reference, None) when this reference is closed."""

    @abstractmethod
    def remove_closed(self, token: EventRegistrationToken, /) -> None:
        """Remove the handler that *token* stands for."""

    @abstractmethod
    def __buffer__(self, flags: int, /) -> memoryview:
        raise NotImplementedError

    def __len__(self) -> int:
        return self.capacity


class IMemoryBuffer(IClosable):
    """A block of memory."""

    __slots__ = ()

    @abstractmethod
    def create_reference(self) -> IMemoryBufferReference:
        """Return a new reference. Deprecated: use the buffer itself with the buffer protocol."""

    @abstractmethod
    def __buffer__(self, flags: int, /) -> memoryview:
        raise NotImplementedError


ClosedHandler: TypeAlias = "Callable[[IMemoryBufferReference, Object | None], object]"


@final
class _Reference(IMemoryBufferReference):
    __slots__ = ("__weakref__", "_closed", "_memory")

    def __init__(self, memory: memoryview) -> None:
        self._memory: memoryview | None = memory
        self._closed: EventSource[IMemoryBufferReference, Object | None] = EventSource()

    @property
    def capacity(self) -> int:
        return 0 if self._memory is None else self._memory.nbytes

    def add_closed(self, handler: ClosedHandler, /) -> EventRegistrationToken:
        return self._closed.add(handler)

    def remove_closed(self, token: EventRegistrationToken, /) -> None:
        self._closed.remove(token)

    def close(self) -> None:
        if self._memory is not None:
            self._memory = None
            self._closed.fire(self, None, report_handler_error)

    def __buffer__(self, _flags: int, /) -> memoryview:
        if self._memory is None:
            raise errors.closed("IMemoryBufferReference")
        return memoryview(self._memory)


@final
class MemoryBuffer(IMemoryBuffer):
    """A block of *capacity* bytes, all zero. Closing it leaves references that were made before alone.

    Errors: TypeError, ValueError or OverflowError when *capacity* is no UInt32; RO_E_CLOSED after `close()`.
    """

    __slots__ = ("__weakref__", "_memory")
    _winrt_name_ = "Windows.Foundation.MemoryBuffer"

    def __init__(self, capacity: int, /) -> None:
        self._memory: memoryview | None = memoryview(bytearray(check_uint(capacity, 32, "capacity")))

    def create_reference(self) -> IMemoryBufferReference:
        """Return a new reference. Deprecated: use the buffer itself with the buffer protocol."""
        warnings.warn("MemoryBuffer.create_reference is deprecated, use the buffer", DeprecationWarning, stacklevel=2)
        return _Reference(self.__buffer__(0))

    def close(self) -> None:
        """Give the memory back once no reference holds it. A second call does nothing."""
        self._memory = None

    def __buffer__(self, _flags: int, /) -> memoryview:
        if self._memory is None:
            raise errors.closed("MemoryBuffer")
        return memoryview(self._memory)


def memory_buffer_over(memory: memoryview) -> MemoryBuffer:
    """Return a MemoryBuffer that gives out *memory* itself, without a copy."""
    buffer = MemoryBuffer(0)
    buffer._memory = memory  # pyright: ignore[reportPrivateUsage]
    return buffer
