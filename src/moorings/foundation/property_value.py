"""`PropertyType`, `IPropertyValue`, `IReference` and `PropertyValue`: plain values boxed as WinRT objects.

A boxed value remembers its WinRT type. `get_x` gives the value back; numbers are converted to other number types, and
GUIDs to and from text, as WinRT does. The many members come from tables: one row for each type.

Errors: TYPE_E_TYPEMISMATCH 0x80028CA0 for a type that cannot be converted, DISP_E_OVERFLOW 0x8002000A for a number out
of the range of the type asked for. Source: WinRT `IPropertyValue`, `PropertyValue`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast
from uuid import UUID

from moorings import errors
from moorings.foundation.geometry import Point, Rect, Size
from moorings.foundation.projection import Object, OpenEnum, final, not_constructible
from moorings.foundation.scalars import (
    Char16,
    Double,
    Int16,
    Int32,
    Int64,
    Single,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
)
from moorings.foundation.winrt_array import Array, check_element, read_items

if TYPE_CHECKING:
    from moorings.foundation.scalars import ReadableBuffer

__all__ = ["BoxedValue", "IPropertyValue", "IReference", "PropertyType", "PropertyValue"]

T = TypeVar("T")


class PropertyType(OpenEnum):
    """The WinRT type of a boxed value."""

    EMPTY = 0
    UINT8 = 1
    INT16 = 2
    UINT16 = 3
    INT32 = 4
    UINT32 = 5
    INT64 = 6
    UINT64 = 7
    SINGLE = 8
    DOUBLE = 9
    CHAR16 = 10
    BOOLEAN = 11
    STRING = 12
    INSPECTABLE = 13
    DATE_TIME = 14
    TIME_SPAN = 15
    GUID = 16
    POINT = 17
    SIZE = 18
    RECT = 19
    OTHER_TYPE = 20
    UINT8_ARRAY = 1025
    INT16_ARRAY = 1026
    UINT16_ARRAY = 1027
    INT32_ARRAY = 1028
    UINT32_ARRAY = 1029
    INT64_ARRAY = 1030
    UINT64_ARRAY = 1031
    SINGLE_ARRAY = 1032
    DOUBLE_ARRAY = 1033
    CHAR16_ARRAY = 1034
    BOOLEAN_ARRAY = 1035
    STRING_ARRAY = 1036
    INSPECTABLE_ARRAY = 1037
    DATE_TIME_ARRAY = 1038
    TIME_SPAN_ARRAY = 1039
    GUID_ARRAY = 1040
    POINT_ARRAY = 1041
    SIZE_ARRAY = 1042
    RECT_ARRAY = 1043
    OTHER_TYPE_ARRAY = 1044


# The number that PropertyType adds for an array of a type.
_ARRAY_OFFSET: Final = 1024

#: The element type of each boxable type; arrays have the type of their elements.
_ELEMENTS: Final[dict[PropertyType, Any]] = {
    PropertyType.UINT8: UInt8,
    PropertyType.INT16: Int16,
    PropertyType.UINT16: UInt16,
    PropertyType.INT32: Int32,
    PropertyType.UINT32: UInt32,
    PropertyType.INT64: Int64,
    PropertyType.UINT64: UInt64,
    PropertyType.SINGLE: Single,
    PropertyType.DOUBLE: Double,
    PropertyType.CHAR16: Char16,
    PropertyType.BOOLEAN: bool,
    PropertyType.STRING: str,
    PropertyType.DATE_TIME: datetime,
    PropertyType.TIME_SPAN: timedelta,
    PropertyType.GUID: UUID,
    PropertyType.POINT: Point,
    PropertyType.SIZE: Size,
    PropertyType.RECT: Rect,
    PropertyType.INSPECTABLE: Object,
}
_NUMERIC: Final = range(PropertyType.UINT8, PropertyType.DOUBLE + 1)
_FLOATS: Final = (PropertyType.SINGLE, PropertyType.DOUBLE)


def _getter(kind: PropertyType, result: type[T]) -> Callable[[IPropertyValue], T]:
    def get(self: IPropertyValue, /) -> T:
        return cast("T", self._read(kind))  # pyright: ignore[reportPrivateUsage]

    get.__doc__ = f"Return the value as {result.__name__} ({kind.name}). TYPE_E_TYPEMISMATCH or DISP_E_OVERFLOW."
    return get


def _array_getter(kind: PropertyType, element: type[T]) -> Callable[[IPropertyValue], Array[T]]:
    def get(self: IPropertyValue, /) -> Array[T]:
        return cast("Array[T]", self._read(kind))  # pyright: ignore[reportPrivateUsage]

    get.__doc__ = f"Return the array of {element.__name__} ({kind.name}). TYPE_E_TYPEMISMATCH for other types."
    return get


class IPropertyValue(Object):
    """A boxed value of any type."""

    __slots__ = ()

    @property
    def type(self) -> PropertyType:
        """The type of the value."""
        raise errors.not_implemented("IPropertyValue.type", "a class that derives from IPropertyValue")

    @property
    def is_numeric_scalar(self) -> bool:
        """Whether the value is one number, and so convertible to the other number types."""
        return self.type in _NUMERIC

    def _read(self, kind: PropertyType) -> Any:
        raise errors.not_implemented(f"IPropertyValue.get for {kind.name}", "a class that derives from IPropertyValue")

    get_uint8 = _getter(PropertyType.UINT8, int)
    get_int16 = _getter(PropertyType.INT16, int)
    get_uint16 = _getter(PropertyType.UINT16, int)
    get_int32 = _getter(PropertyType.INT32, int)
    get_uint32 = _getter(PropertyType.UINT32, int)
    get_int64 = _getter(PropertyType.INT64, int)
    get_uint64 = _getter(PropertyType.UINT64, int)
    get_single = _getter(PropertyType.SINGLE, float)
    get_double = _getter(PropertyType.DOUBLE, float)
    get_char16 = _getter(PropertyType.CHAR16, str)
    get_boolean = _getter(PropertyType.BOOLEAN, bool)
    get_string = _getter(PropertyType.STRING, str)
    get_date_time = _getter(PropertyType.DATE_TIME, datetime)
    get_time_span = _getter(PropertyType.TIME_SPAN, timedelta)
    get_guid = _getter(PropertyType.GUID, UUID)
    get_point = _getter(PropertyType.POINT, Point)
    get_size = _getter(PropertyType.SIZE, Size)
    get_rect = _getter(PropertyType.RECT, Rect)

    get_uint8_array = _array_getter(PropertyType.UINT8_ARRAY, int)
    get_int16_array = _array_getter(PropertyType.INT16_ARRAY, int)
    get_uint16_array = _array_getter(PropertyType.UINT16_ARRAY, int)
    get_int32_array = _array_getter(PropertyType.INT32_ARRAY, int)
    get_uint32_array = _array_getter(PropertyType.UINT32_ARRAY, int)
    get_int64_array = _array_getter(PropertyType.INT64_ARRAY, int)
    get_uint64_array = _array_getter(PropertyType.UINT64_ARRAY, int)
    get_single_array = _array_getter(PropertyType.SINGLE_ARRAY, float)
    get_double_array = _array_getter(PropertyType.DOUBLE_ARRAY, float)
    get_char16_array = _array_getter(PropertyType.CHAR16_ARRAY, str)
    get_boolean_array = _array_getter(PropertyType.BOOLEAN_ARRAY, bool)
    get_string_array = _array_getter(PropertyType.STRING_ARRAY, str)
    get_date_time_array = _array_getter(PropertyType.DATE_TIME_ARRAY, datetime)
    get_time_span_array = _array_getter(PropertyType.TIME_SPAN_ARRAY, timedelta)
    get_guid_array = _array_getter(PropertyType.GUID_ARRAY, UUID)
    get_point_array = _array_getter(PropertyType.POINT_ARRAY, Point)
    get_size_array = _array_getter(PropertyType.SIZE_ARRAY, Size)
    get_rect_array = _array_getter(PropertyType.RECT_ARRAY, Rect)
    get_inspectable_array = _array_getter(PropertyType.INSPECTABLE_ARRAY, Object)


class IReference(IPropertyValue, Generic[T]):
    """A boxed value of the type `T`. Members whose type is `IReference<T>` give `T | None` in Python, not this."""

    __slots__ = ()

    @property
    def value(self) -> T:
        """The value."""
        raise errors.not_implemented("IReference.value", "a class that derives from IReference")


@final
class BoxedValue(IReference[Any]):
    """What `PropertyValue.create_x` and `box_x` make."""

    __slots__ = ("__weakref__", "_type", "_value", "element")
    _winrt_name_ = "Windows.Foundation.IReference`1"

    def __init__(self, kind: PropertyType, element: object, value: Any) -> None:
        self._type = kind
        #: The scalar type it was boxed as; tells `Int8`, which has no PropertyType, from others.
        self.element = element
        self._value = value

    @property
    def type(self) -> PropertyType:
        """The type of the value."""
        return self._type

    @property
    def value(self) -> Any:
        """The value."""
        return self._value

    def _read(self, kind: PropertyType) -> Any:
        if kind is self._type:
            return self._value
        if kind in _NUMERIC and self._type in _NUMERIC:
            return self._convert_number(kind)
        if kind is PropertyType.STRING and self._type is PropertyType.GUID:
            return str(self._value)
        if kind is PropertyType.GUID and self._type is PropertyType.STRING:
            try:
                return UUID(self._value)
            except ValueError:
                raise self._mismatch(kind) from None
        raise self._mismatch(kind)

    def _convert_number(self, kind: PropertyType) -> float:
        number: float = self._value
        try:
            converted = number if kind in _FLOATS else math.trunc(number)
            return cast("float", check_element(_ELEMENTS[kind], converted, "the value"))
        except (ValueError, OverflowError):
            raise errors.make(errors.DISP_E_OVERFLOW, f"{number} does not fit into {kind.name}") from None

    def _mismatch(self, kind: PropertyType) -> OSError:
        return errors.make(errors.TYPE_E_TYPEMISMATCH, f"the boxed value is {self._type.name}, not {kind.name}")

    def __repr__(self) -> str:
        return f"<boxed {self._type.name} {self._value!r}>"


_Creator: TypeAlias = Callable[[T], Object]
_ArrayCreator: TypeAlias = "Callable[[Array[T] | ReadableBuffer], Object]"


def _creator(kind: PropertyType) -> Any:
    element = _ELEMENTS[kind]

    def create(value: Any, /) -> Object:
        return BoxedValue(kind, element, check_element(element, value, "value"))

    create.__doc__ = f"Box *value* as {kind.name}. TypeError, ValueError or OverflowError when it is none."
    return staticmethod(create)


def _array_creator(kind: PropertyType) -> Any:
    element = _ELEMENTS[PropertyType(kind - _ARRAY_OFFSET)]

    def create(value: Array[Any] | ReadableBuffer, /) -> Object:
        return BoxedValue(kind, element, Array(element, read_items(value, element, "value")))

    create.__doc__ = f"Box a copy of the array *value* as {kind.name}. TypeError when its elements do not fit."
    return staticmethod(create)


@final
@not_constructible
class PropertyValue:
    """Makes boxed values."""

    create_uint8: _Creator[int] = _creator(PropertyType.UINT8)
    create_int16: _Creator[int] = _creator(PropertyType.INT16)
    create_uint16: _Creator[int] = _creator(PropertyType.UINT16)
    create_int32: _Creator[int] = _creator(PropertyType.INT32)
    create_uint32: _Creator[int] = _creator(PropertyType.UINT32)
    create_int64: _Creator[int] = _creator(PropertyType.INT64)
    create_uint64: _Creator[int] = _creator(PropertyType.UINT64)
    create_single: _Creator[float] = _creator(PropertyType.SINGLE)
    create_double: _Creator[float] = _creator(PropertyType.DOUBLE)
    create_char16: _Creator[str] = _creator(PropertyType.CHAR16)
    create_boolean: _Creator[bool] = _creator(PropertyType.BOOLEAN)
    create_string: _Creator[str] = _creator(PropertyType.STRING)
    create_date_time: _Creator[datetime] = _creator(PropertyType.DATE_TIME)
    create_time_span: _Creator[timedelta] = _creator(PropertyType.TIME_SPAN)
    create_guid: _Creator[UUID] = _creator(PropertyType.GUID)
    create_point: _Creator[Point | tuple[float, float]] = _creator(PropertyType.POINT)
    create_size: _Creator[Size | tuple[float, float]] = _creator(PropertyType.SIZE)
    create_rect: _Creator[Rect | tuple[float, float, float, float]] = _creator(PropertyType.RECT)

    create_uint8_array: _ArrayCreator[int] = _array_creator(PropertyType.UINT8_ARRAY)
    create_int16_array: _ArrayCreator[int] = _array_creator(PropertyType.INT16_ARRAY)
    create_uint16_array: _ArrayCreator[int] = _array_creator(PropertyType.UINT16_ARRAY)
    create_int32_array: _ArrayCreator[int] = _array_creator(PropertyType.INT32_ARRAY)
    create_uint32_array: _ArrayCreator[int] = _array_creator(PropertyType.UINT32_ARRAY)
    create_int64_array: _ArrayCreator[int] = _array_creator(PropertyType.INT64_ARRAY)
    create_uint64_array: _ArrayCreator[int] = _array_creator(PropertyType.UINT64_ARRAY)
    create_single_array: _ArrayCreator[float] = _array_creator(PropertyType.SINGLE_ARRAY)
    create_double_array: _ArrayCreator[float] = _array_creator(PropertyType.DOUBLE_ARRAY)
    create_char16_array: _ArrayCreator[str] = _array_creator(PropertyType.CHAR16_ARRAY)
    create_boolean_array: _ArrayCreator[bool] = _array_creator(PropertyType.BOOLEAN_ARRAY)
    create_string_array: _ArrayCreator[str] = _array_creator(PropertyType.STRING_ARRAY)
    create_date_time_array: _ArrayCreator[datetime] = _array_creator(PropertyType.DATE_TIME_ARRAY)
    create_time_span_array: _ArrayCreator[timedelta] = _array_creator(PropertyType.TIME_SPAN_ARRAY)
    create_guid_array: _ArrayCreator[UUID] = _array_creator(PropertyType.GUID_ARRAY)
    create_point_array: _ArrayCreator[Point] = _array_creator(PropertyType.POINT_ARRAY)
    create_size_array: _ArrayCreator[Size] = _array_creator(PropertyType.SIZE_ARRAY)
    create_rect_array: _ArrayCreator[Rect] = _array_creator(PropertyType.RECT_ARRAY)
    create_inspectable_array: _ArrayCreator[Object | None] = _array_creator(PropertyType.INSPECTABLE_ARRAY)

    @staticmethod
    def create_empty() -> Object:
        """Return a boxed value of type EMPTY."""
        return BoxedValue(PropertyType.EMPTY, None, None)

    @staticmethod
    def create_inspectable(value: Object | None, /) -> Object | None:
        """Return *value* itself: it is an object already. TypeError for plain Python values."""
        return cast("Object | None", check_element(Object, value, "value"))
