"""`winrt.system.Array`: an array of fixed size and one element type.

Arrays of scalar types hold their elements as packed memory and export it through the buffer protocol (on Python 3.12
and later; Python 3.11 has no way for a Python class to do so, use `bytes(array)` there). Arrays of other types hold
objects. Source: PyWinRT `winrt.system.Array`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, SupportsIndex, TypeVar, cast, overload
from uuid import UUID

from moorings.foundation.projection import (
    Object,
    check_datetime,
    check_float,
    check_guid,
    check_int,
    check_optional,
    check_single,
    check_str,
    check_timedelta,
    check_uint,
    final,
)
from moorings.foundation.scalars import ReadableBuffer, WriteableBuffer, scalar_format
from moorings.foundation.winrt_struct import WinRTStruct

__all__ = [
    "Array",
    "array_items",
    "check_char16",
    "check_element",
    "fill_items",
    "item_count",
    "read_items",
    "readable_view",
    "writable_view",
]

T = TypeVar("T")
_Check = Callable[[object, str], Any]


def check_char16(value: object, name: str) -> str:
    """Return *value* when it is one UTF-16 code unit, that is a str of length 1 below U+10000.

    TypeError for other types, ValueError for other lengths, OverflowError for characters that need two code units.
    """
    text = check_str(value, name)
    if len(text) != 1:
        raise ValueError(f"{name} must be one character")
    if ord(text) > 0xFFFF:
        raise OverflowError(f"{name} does not fit into one UTF-16 code unit")
    return text


def _any_value(value: object, _name: str) -> object:
    return value


# Scalars: buffer format -> the check of one element.
_SCALAR_CHECKS: Final[dict[str, _Check]] = {
    "b": lambda value, name: check_int(value, 8, name),
    "B": lambda value, name: check_uint(value, 8, name),
    "h": lambda value, name: check_int(value, 16, name),
    "H": lambda value, name: check_uint(value, 16, name),
    "i": lambda value, name: check_int(value, 32, name),
    "I": lambda value, name: check_uint(value, 32, name),
    "q": lambda value, name: check_int(value, 64, name),
    "Q": lambda value, name: check_uint(value, 64, name),
    "f": check_single,
    "d": check_float,
    "?": lambda value, _: bool(value),
    "u": check_char16,
}
_SCALAR_NAMES: Final = {
    "b": "Int8",
    "B": "UInt8",
    "h": "Int16",
    "H": "UInt16",
    "i": "Int32",
    "I": "UInt32",
    "q": "Int64",
    "Q": "UInt64",
    "f": "Single",
    "d": "Double",
    "?": "bool",
    "u": "Char16",
}
# Other types: the check of one element and what an array made by size holds.
_OBJECT_CHECKS: Final[dict[object, tuple[_Check, Any]]] = {
    str: (check_str, ""),
    UUID: (check_guid, UUID(int=0)),
    datetime: (check_datetime, None),
    timedelta: (check_timedelta, timedelta()),
}


def check_element(type_: Any, value: object, name: str) -> Any:
    """Return *value* checked as an element of an `Array` of *type_*, or as a boxed value of that type."""
    form = scalar_format(type_)
    return (_SCALAR_CHECKS[form] if form else _object_element(type_)[0])(value, name)


def _object_element(kind: Any) -> tuple[_Check, Any]:
    if kind in _OBJECT_CHECKS:
        return _OBJECT_CHECKS[kind]
    if isinstance(kind, type) and issubclass(kind, WinRTStruct):
        return kind.coerce, kind()
    if isinstance(kind, type) and issubclass(kind, Object):
        return lambda value, name: check_optional(value, kind, name), None
    return _any_value, None


@final
class Array(Object, Sequence[T]):
    """An array of *size* elements, or one with the elements of an iterable.

    `Array(UInt16)` is empty, `Array(UInt16, 4)` holds four zeros, `Array(UInt16, [1, 2])` holds copies. *type_* is a
    scalar type of `winrt.system`, `bool`, `str`, `uuid.UUID`, `datetime`, `timedelta`, a struct, or any class. Slices
    are arrays; a step other than 1 is a NotImplementedError. Elements are checked like arguments of their type.
    """

    __slots__ = ("__weakref__", "_check", "_format", "_items", "_memory", "_type")
    _memory: memoryview[Any] | None
    _items: list[Any]

    @overload
    def __init__(self, type_: Any, /) -> None: ...
    @overload
    def __init__(self, type_: Any, size: SupportsIndex, /) -> None: ...
    @overload
    def __init__(self, type_: Any, initializer: Iterable[T], /) -> None: ...
    def __init__(self, type_: Any, initializer: SupportsIndex | Iterable[T] = 0, /) -> None:
        self._type = type_
        self._format = scalar_format(type_)
        self._memory = None
        self._items = []
        if isinstance(initializer, Iterable):
            values: list[Any] = list(initializer)
            size = len(values)
        else:
            values = []
            size = check_uint(initializer, 32, "size")
        if self._format:
            self._check = _SCALAR_CHECKS[self._format]
            stored = "H" if self._format == "u" else self._format
            # memoryview cannot cast no bytes to a wider format, hence the spare element that the slice takes away.
            memory = memoryview(bytearray((size + 1) * struct.calcsize("=" + stored)))
            self._memory = memory.cast(cast("Any", stored))[:size]
        else:
            self._check, default = _object_element(type_)
            self._items = [default] * size
        for index, value in enumerate(values):
            self.put(index, value)

    def put(self, index: int, value: object) -> None:
        """Set one element. For the library's methods that fill an array; PyWinRT has no way to do so from outside."""
        checked = self._check(value, f"element {index}")
        if self._memory is None:
            self._items[index] = checked
        else:
            self._memory[index] = ord(checked) if self._format == "u" else checked

    def __len__(self) -> int:
        return len(self._items) if self._memory is None else len(self._memory)

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Array[T]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> T | Array[T]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise NotImplementedError("slices of an Array have step 1")
            return Array(self._type, [self._get(position) for position in range(start, stop)])
        position = index.__index__()
        if position < 0:
            position += len(self)
        if not 0 <= position < len(self):
            raise IndexError("Array index out of range")
        return self._get(position)

    def _get(self, position: int) -> T:
        if self._memory is None:
            return cast("T", self._items[position])
        value = self._memory[position]
        return cast("T", chr(value) if self._format == "u" else value)

    def __iter__(self) -> Iterator[T]:
        return (self._get(position) for position in range(len(self)))

    def view(self) -> memoryview[Any]:
        """Return the memory of a scalar array; TypeError for an array of objects."""
        if self._memory is None:
            raise TypeError(f"an Array of {self._type_name()} has no packed memory")
        return memoryview(self._memory)

    def __buffer__(self, _flags: int, /) -> memoryview[Any]:
        return self.view()

    def __bytes__(self) -> bytes:
        return self.view().tobytes()

    def __repr__(self) -> str:
        return f"Array({self._type_name()}, {list(self)!r})"

    def _type_name(self) -> str:
        return _SCALAR_NAMES.get(self._format) or str(getattr(self._type, "__name__", self._type))


def readable_view(data: Array[Any] | ReadableBuffer, name: str) -> memoryview[Any]:
    """Return the memory of an array parameter that is only read; TypeError for lists and other objects."""
    if isinstance(data, Array):
        array: Array[Any] = cast("Any", data)
        return array.view()
    try:
        return memoryview(data)
    except TypeError:
        raise TypeError(f"{name} must be an Array or a bytes-like object, not {type(data).__name__}") from None


def writable_view(data: Array[Any] | WriteableBuffer, name: str) -> memoryview[Any]:
    """Return the memory of an array parameter that is filled; TypeError for read-only objects, lists and others."""
    view = readable_view(data, name)
    if view.readonly:
        raise TypeError(f"{name} must be writable, {type(data).__name__} is not")
    return view


def read_items(data: Array[Any] | ReadableBuffer, type_: Any, name: str) -> list[Any]:
    """Return the elements of an array parameter of element type *type_*, checked.

    Takes an Array, and for scalar types any bytes-like object whose format is that of *type_*. TypeError for lists.
    """
    if not isinstance(data, Array):
        view = readable_view(data, name)
        if view.ndim != 1 or view.format.lstrip("@=<") != scalar_format(type_):
            raise TypeError(f"{name} has elements of format {view.format!r}, which do not fit")
        data = Array(type_, view.tolist())
    elements: Array[Any] = cast("Any", data)
    return list(Array[Any](type_, elements))


def item_count(items: Array[Any] | ReadableBuffer, name: str) -> int:
    """Return how many elements an array parameter has; TypeError when it is none."""
    if isinstance(items, Array):
        return len(cast("Any", items))
    return len(readable_view(items, name))


def array_items(items: Array[Any] | ReadableBuffer, name: str) -> list[Any]:
    """Return the elements of an array parameter of any element type; TypeError for lists and other objects."""
    if isinstance(items, Array):
        return list(cast("Any", items))
    return readable_view(items, name).tolist()


def fill_items(target: Array[Any] | WriteableBuffer, values: Sequence[Any], name: str) -> int:
    """Fill the array parameter *target* with as many of *values* as fit; return their number."""
    if isinstance(target, Array):
        array: Array[Any] = cast("Any", target)
        count = min(len(values), len(array))
        for index in range(count):
            array.put(index, values[index])
        return count
    view = writable_view(target, name)
    count = min(len(values), len(view))
    for index in range(count):
        view[index] = values[index]
    return count
