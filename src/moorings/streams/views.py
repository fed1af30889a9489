"""The memory of parameters: WinRT's `IBuffer` and byte arrays, for which any bytes-like object may be given."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.projection import check_int
from moorings.foundation.winrt_array import readable_view
from moorings.streams.buffer import Buffer, wrap

if TYPE_CHECKING:
    from moorings.foundation.scalars import WriteableBuffer

__all__ = ["bytes_view", "check_separator", "fillable_buffer", "fillable_view"]


def bytes_view(data: Any, name: str) -> memoryview:
    """The bytes of a parameter that is only read, contiguous.

    Errors: TypeError for an object without memory, such as a list; E_INVALIDARG 0x80070057 for None.
    """
    view = _view(data, name)
    if view.nbytes == 0:
        return memoryview(b"")
    if not view.c_contiguous:
        return memoryview(view.tobytes())
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def fillable_view(data: Any, name: str) -> memoryview:
    """The bytes of an array parameter that is filled.

    Errors: TypeError for a read-only object, or one whose memory is in pieces; else as `bytes_view`.
    """
    view = _view(data, name)
    if view.readonly:
        raise TypeError(f"{name} must be writable, {type(data).__name__} is not")
    if view.nbytes == 0:
        return memoryview(bytearray())
    return view if view.format == "B" and view.ndim == 1 and view.c_contiguous else view.cast("B")


def fillable_buffer(buffer: WriteableBuffer, name: str) -> Buffer:
    """The Buffer to fill for an `IBuffer` parameter: itself, or a new one over the memory of a writable object.

    Errors: TypeError for a read-only object; E_INVALIDARG 0x80070057 for None.
    """
    return buffer if isinstance(buffer, Buffer) else wrap(fillable_view(buffer, name))


def _view(data: Any, name: str) -> memoryview[Any]:
    if data is None:
        raise errors.invalid_argument(f"{name} must not be None")
    if sys.version_info < (3, 12) and not isinstance(data, Buffer):
        # Before 3.12 a Python class cannot export its memory by itself, but it may have the method.
        export = getattr(data, "__buffer__", None)
        if export is not None:
            view: memoryview = export(0)
            return view
    return readable_view(data, name)


def check_separator(separator: object, limit: object) -> None:
    """Check the arguments of a `read_until` before it waits for anything: TypeError, or ValueError where empty."""
    if not isinstance(separator, bytes | bytearray | memoryview):
        raise TypeError(f"separator must be bytes, not {type(separator).__name__}")
    if not separator:
        raise ValueError("the separator must not be empty")
    check_int(limit, 64, "limit")
