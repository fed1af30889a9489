"""What DataReader and DataWriter have in common: a stream that they own, one operation at a time, settings, an end."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any
from uuid import UUID

from moorings import errors
from moorings.foundation.projection import Object, check_enum
from moorings.foundation.winrt_array import Array
from moorings.streams.enums import ByteOrder, UnicodeEncoding

if TYPE_CHECKING:
    from moorings.foundation.operation import Operation

__all__ = ["StreamOwner"]

_STARTED = 0

#: What can keep a member from being used, besides `close()`.
BUSY = "busy"
NO_STREAM = "no stream"


class StreamOwner:
    """Base of DataReader and DataWriter."""

    __slots__ = ("__weakref__", "_busy", "_closed", "_encoding", "_order", "_pending", "_start", "_stream")

    #: For each member that has to do with I/O: what keeps it from being used, the first reason first.
    RULES = dict[str, tuple[str, ...]]()  # noqa: RUF012 (compiled classes have no annotated attributes)

    def __init__(self) -> None:
        self._stream: Any = None
        # The stream's `_start_read` or `_start_write`, where it has one: the short way past its `_async` members.
        self._start: Any = None
        # An operation that went the short way is under way; its hook tells when it has ended.
        self._busy = False
        # The last operation that went the long way.
        self._pending: Operation | None = None
        self._closed = False
        self._order = 1
        self._encoding = 0

    @property
    def byte_order(self) -> ByteOrder:
        """Byte order of the numbers. Default BIG_ENDIAN, the network's. Usable after `close()`, too."""
        return ByteOrder(self._order)

    @byte_order.setter
    def byte_order(self, value: ByteOrder) -> None:
        order = int(check_enum(value, ByteOrder, "byte_order"))
        if not 0 <= order <= 1:
            raise errors.invalid_argument(f"byte_order {order} is no ByteOrder")
        self._order = order

    @property
    def unicode_encoding(self) -> UnicodeEncoding:
        """Encoding of the text. Default UTF8. Usable after `close()`, too."""
        return UnicodeEncoding(self._encoding)

    @unicode_encoding.setter
    def unicode_encoding(self, value: UnicodeEncoding) -> None:
        encoding = int(check_enum(value, UnicodeEncoding, "unicode_encoding"))
        if not 0 <= encoding <= 2:
            raise errors.invalid_argument(f"unicode_encoding {encoding} is no UnicodeEncoding")
        self._encoding = encoding

    # -- rules -------------------------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        if self._busy:
            return True
        pending = self._pending
        if pending is not None:
            if pending.state == _STARTED:
                return True
            self._pending = None
        return False

    def _check(self, member: str) -> None:
        """Raise what `close()` and `RULES` have against using `member` now."""
        if self._closed:
            raise errors.closed(type(self).__name__)
        name = f"{type(self).__name__}.{member}"
        for reason in self.RULES[member]:
            if reason == NO_STREAM and self._stream is None:
                raise errors.illegal_call(f"{name} without a stream", "none was given, or detach_stream() took it away")
            if reason == BUSY and self._is_busy():
                text = f"{name} while another operation of it is under way; await that first"
                raise errors.make(errors.ERROR_INVALID_OPERATION, text)

    # -- ending ------------------------------------------------------------------------------------------------------

    def _give_stream(self) -> Any:
        self._check("detach_stream")
        stream = self._stream
        self._stream = self._start = None
        return stream

    def close(self) -> None:
        """Close the stream, unless it was detached, and give up what is in memory. A second call does nothing."""
        self._closed = True
        stream = self._stream
        self._stream = self._start = None
        if stream is not None:
            stream.close()

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Windows would close the stream now. But a finaliser runs at no certain time, and others may use the stream.
        stream = getattr(self, "_stream", None)
        if stream is None:
            return
        is_open = getattr(stream, "_is_open", None)
        if is_open is None or is_open():
            text = (
                f"{type(self).__name__} dropped without close() or detach_stream(); its stream stays open: {stream!r}"
            )
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    # -- winrt.system.Object, from which a compiled class cannot derive ----------------------------------------------

    def as_(self, type_: Any, /) -> Any:
        """Return this object as a `type_` (query interface); OSError with E_NOINTERFACE when it is none."""
        owner: Any = self
        return Object.as_(owner, type_)

    @property
    def _iids_(self) -> Array[UUID]:
        """Interface ids. There is no COM here, so the array is empty."""
        return Array(UUID)

    @property
    def _runtime_class_name_(self) -> str:
        """The WinRT name of the class."""
        return f"Windows.Storage.Streams.{type(self).__name__}"
