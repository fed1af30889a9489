"""One received message as an input stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.home import current_home
from moorings.foundation.operation import OPERATION_WITH_PROGRESS
from moorings.foundation.projection import check_enum, check_uint
from moorings.foundation.task_operation import completed_operation
from moorings.streams.buffer import fill
from moorings.streams.enums import InputStreamOptions
from moorings.streams.interfaces import IInputStream
from moorings.streams.views import fillable_buffer

if TYPE_CHECKING:
    from moorings.foundation.async_info import IAsyncOperationWithProgress
    from moorings.foundation.scalars import WriteableBuffer
    from moorings.streams.buffer import Buffer


class MessageStream(IInputStream):
    """An IInputStream over the bytes of one message; each has its own position."""

    __slots__ = ("_closed", "_data", "_position")

    def __init__(self, data: Any) -> None:
        self._data = memoryview(data)
        self._position = 0
        self._closed = False

    def read_async(
        self, buffer: WriteableBuffer, count: int, options: InputStreamOptions, /
    ) -> IAsyncOperationWithProgress[Buffer, int]:
        """Read up to `count` bytes into `buffer`; length 0 is the end. Source: WinRT IInputStream.ReadAsync."""
        number = check_uint(count, 32, "count")
        check_enum(options, InputStreamOptions, "options")
        target = fillable_buffer(buffer, "buffer")
        if number > target.capacity:
            raise errors.invalid_argument(f"read_async: count {number} is larger than the capacity {target.capacity}")
        if self._closed:
            raise errors.closed("the stream of a message")
        part = self._data[self._position : self._position + number]
        self._position += len(part)
        fill(target, part)
        return completed_operation(current_home(), OPERATION_WITH_PROGRESS, target)

    def close(self) -> None:
        """Later reads fail with RO_E_CLOSED."""
        self._closed = True
