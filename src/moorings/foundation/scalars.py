"""The scalar types of WinRT as annotations: `Int8` ... `Char16`, and the names for bytes-like parameters.

`Int32` is plain `int` to Python and to type checkers; the annotation carries the width, which `Array` and the boxing
functions read. Source: PyWinRT `winrt.system`.
"""

from __future__ import annotations

import array
import collections.abc
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, Union

if TYPE_CHECKING:
    # typeshed has it for every version; at run time it exists from Python 3.12 on.
    from typing_extensions import Buffer as _Buffer
else:
    _Buffer = getattr(
        collections.abc,
        "Buffer",
        Union[bytes, bytearray, memoryview, array.array],  # noqa: UP007 (the value is inspected)
    )

__all__ = [
    "BufferFormat",
    "Char16",
    "Double",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "ReadableBuffer",
    "Single",
    "StructFormat",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "WinrtSignature",
    "WriteableBuffer",
    "scalar_format",
]


class BufferFormat(str):
    """The format of one element in the buffer protocol, as in the `struct` module."""

    __slots__ = ()


class StructFormat(str):
    """The `struct` format of a WinRT struct."""

    __slots__ = ()


class WinrtSignature(str):
    """The WinRT type signature of a type, from which the ids of generic interfaces are derived."""

    __slots__ = ()


Int8: TypeAlias = Annotated[int, BufferFormat("b")]
UInt8: TypeAlias = Annotated[int, BufferFormat("B")]
Int16: TypeAlias = Annotated[int, BufferFormat("h")]
UInt16: TypeAlias = Annotated[int, BufferFormat("H")]
Int32: TypeAlias = Annotated[int, BufferFormat("i")]
UInt32: TypeAlias = Annotated[int, BufferFormat("I")]
Int64: TypeAlias = Annotated[int, BufferFormat("q")]
UInt64: TypeAlias = Annotated[int, BufferFormat("Q")]
Single: TypeAlias = Annotated[float, BufferFormat("f")]
Double: TypeAlias = Annotated[float, BufferFormat("d")]
Char16: TypeAlias = Annotated[str, BufferFormat("u")]

#: What an `IBuffer` or array parameter that is only read takes: any object with the buffer protocol.
ReadableBuffer: TypeAlias = _Buffer
#: What an `IBuffer` or array parameter that is filled takes: any object with a writable buffer.
WriteableBuffer: TypeAlias = _Buffer

_PLAIN_FORMATS: Final[dict[object, str]] = {bool: "?"}


def scalar_format(kind: Any) -> str:
    """Return the buffer format of the scalar type *kind* (`Int32`, `bool`, ...); `""` when it is no such type."""
    for note in getattr(kind, "__metadata__", ()):
        if isinstance(note, BufferFormat):
            return str(note)
    try:
        return _PLAIN_FORMATS.get(kind, "")
    except TypeError:
        # Not hashable, and so not a type.
        return ""
