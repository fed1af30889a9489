"""`box_x` and `unbox_x` of `winrt.system`: plain values to and from objects, for Object-typed parameters.

`box_x` checks its argument like a parameter of that type. `unbox_x` takes exactly what `box_x` (or
`PropertyValue.create_x`) of the same type made: TypeError for what is no WinRT object, E_NOINTERFACE for other boxes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, SupportsIndex
from uuid import UUID

from moorings import errors
from moorings.foundation.projection import Object
from moorings.foundation.property_value import BoxedValue, PropertyType
from moorings.foundation.scalars import (
    Char16,
    Double,
    Int8,
    Int16,
    Int32,
    Int64,
    Single,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
)
from moorings.foundation.winrt_array import Array, check_element

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "box_boolean",
    "box_char16",
    "box_date_time",
    "box_double",
    "box_guid",
    "box_int16",
    "box_int32",
    "box_int64",
    "box_int8",
    "box_single",
    "box_string",
    "box_time_span",
    "box_uint16",
    "box_uint32",
    "box_uint64",
    "box_uint8",
    "unbox_boolean",
    "unbox_char16",
    "unbox_date_time",
    "unbox_double",
    "unbox_guid",
    "unbox_int16",
    "unbox_int32",
    "unbox_int64",
    "unbox_int8",
    "unbox_single",
    "unbox_string",
    "unbox_time_span",
    "unbox_uint16",
    "unbox_uint32",
    "unbox_uint64",
    "unbox_uint8",
]


def _boxer(kind: PropertyType, element: Any) -> Any:
    def box(value: Any, /) -> Object:
        return BoxedValue(kind, element, check_element(element, value, "value"))

    return box


def _unboxer(element: Any, name: str) -> Any:
    def unbox(value: Object, /) -> Any:
        if not isinstance(value, Object):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"value must be a boxed {name}, not {type(value).__name__}")
        if not isinstance(value, BoxedValue) or value.element is not element or isinstance(value.value, Array):
            raise errors.make(errors.E_NOINTERFACE, f"{value!r} is no boxed {name}")
        return value.value

    return unbox


box_boolean: Callable[[bool], Object] = _boxer(PropertyType.BOOLEAN, bool)
box_int8: Callable[[SupportsIndex], Object] = _boxer(PropertyType.OTHER_TYPE, Int8)
box_uint8: Callable[[SupportsIndex], Object] = _boxer(PropertyType.UINT8, UInt8)
box_int16: Callable[[SupportsIndex], Object] = _boxer(PropertyType.INT16, Int16)
box_uint16: Callable[[SupportsIndex], Object] = _boxer(PropertyType.UINT16, UInt16)
box_int32: Callable[[SupportsIndex], Object] = _boxer(PropertyType.INT32, Int32)
box_uint32: Callable[[SupportsIndex], Object] = _boxer(PropertyType.UINT32, UInt32)
box_int64: Callable[[SupportsIndex], Object] = _boxer(PropertyType.INT64, Int64)
box_uint64: Callable[[SupportsIndex], Object] = _boxer(PropertyType.UINT64, UInt64)
box_single: Callable[[float], Object] = _boxer(PropertyType.SINGLE, Single)
box_double: Callable[[float], Object] = _boxer(PropertyType.DOUBLE, Double)
box_char16: Callable[[str], Object] = _boxer(PropertyType.CHAR16, Char16)
box_string: Callable[[str], Object] = _boxer(PropertyType.STRING, str)
box_guid: Callable[[UUID], Object] = _boxer(PropertyType.GUID, UUID)
box_date_time: Callable[[datetime], Object] = _boxer(PropertyType.DATE_TIME, datetime)
box_time_span: Callable[[timedelta], Object] = _boxer(PropertyType.TIME_SPAN, timedelta)

unbox_boolean: Callable[[Object], bool] = _unboxer(bool, "boolean")
unbox_int8: Callable[[Object], int] = _unboxer(Int8, "int8")
unbox_uint8: Callable[[Object], int] = _unboxer(UInt8, "uint8")
unbox_int16: Callable[[Object], int] = _unboxer(Int16, "int16")
unbox_uint16: Callable[[Object], int] = _unboxer(UInt16, "uint16")
unbox_int32: Callable[[Object], int] = _unboxer(Int32, "int32")
unbox_uint32: Callable[[Object], int] = _unboxer(UInt32, "uint32")
unbox_int64: Callable[[Object], int] = _unboxer(Int64, "int64")
unbox_uint64: Callable[[Object], int] = _unboxer(UInt64, "uint64")
unbox_single: Callable[[Object], float] = _unboxer(Single, "single")
unbox_double: Callable[[Object], float] = _unboxer(Double, "double")
unbox_char16: Callable[[Object], str] = _unboxer(Char16, "char16")
unbox_string: Callable[[Object], str] = _unboxer(str, "string")
unbox_guid: Callable[[Object], UUID] = _unboxer(UUID, "guid")
unbox_date_time: Callable[[Object], datetime] = _unboxer(datetime, "date_time")
unbox_time_span: Callable[[Object], timedelta] = _unboxer(timedelta, "time_span")
