from __future__ import annotations

import array
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from moorings import errors
from moorings.foundation.geometry import Point, Rect, Size
from moorings.foundation.projection import Object
from moorings.foundation.property_value import IPropertyValue, IReference, PropertyType, PropertyValue
from moorings.foundation.winrt_array import Array

SAMPLES: dict[str, Any] = {
    "uint8": 255,
    "int16": -5,
    "uint16": 65535,
    "int32": -(2**31),
    "uint32": 2**32 - 1,
    "int64": -(2**63),
    "uint64": 2**64 - 1,
    "single": 0.5,
    "double": 0.1,
    "char16": "x",
    "boolean": True,
    "string": "text",
    "date_time": datetime(2026, 1, 1, tzinfo=UTC),
    "time_span": timedelta(seconds=1),
    "guid": UUID(int=5),
    "point": Point(1, 2),
    "size": Size(1, 2),
    "rect": Rect(1, 2, 3, 4),
}


def _winerror(call: Any, *args: Any) -> int:
    with pytest.raises(OSError) as caught:
        call(*args)
    assert isinstance(caught.value, errors.CodedError)
    return caught.value.winerror


def _create(name: str, value: Any) -> IPropertyValue:
    return cast("IPropertyValue", getattr(PropertyValue, f"create_{name}")(value))


@pytest.mark.parametrize("name", SAMPLES)
def test_round_trip(name: str) -> None:
    boxed = _create(name, SAMPLES[name])
    assert isinstance(boxed, IReference)
    assert isinstance(boxed, Object)
    assert boxed.type is PropertyType[name.upper()]
    assert getattr(boxed, f"get_{name}")() == boxed.value == SAMPLES[name]
    assert boxed.is_numeric_scalar is (1 <= boxed.type <= 9)


@pytest.mark.parametrize("name", SAMPLES)
def test_array_round_trip(name: str) -> None:
    scalar = _create(name, SAMPLES[name])
    source = Array[Any](cast("Any", scalar).element, [SAMPLES[name]] * 2)
    boxed = _create(f"{name}_array", source)
    assert boxed.type is PropertyType[f"{name.upper()}_ARRAY"]
    assert boxed.type == scalar.type + 1024
    result = getattr(boxed, f"get_{name}_array")()
    assert isinstance(result, Array)
    assert result is not source
    assert list(result) == list(source)
    assert not boxed.is_numeric_scalar
    assert _winerror(getattr(boxed, f"get_{name}")) == errors.TYPE_E_TYPEMISMATCH


def test_arrays_come_from_buffers_of_the_right_format() -> None:
    boxed = _create("uint16_array", array.array("H", [1, 2]))
    assert list(boxed.get_uint16_array()) == [1, 2]
    with pytest.raises(TypeError):
        _create("uint16_array", b"ab")
    with pytest.raises(TypeError):
        _create("uint16_array", [1, 2])


def test_inspectable() -> None:
    boxed = PropertyValue.create_string("x")
    assert PropertyValue.create_inspectable(boxed) is boxed
    assert PropertyValue.create_inspectable(None) is None
    with pytest.raises(TypeError):
        PropertyValue.create_inspectable("x")  # type: ignore[arg-type]
    several = _create("inspectable_array", Array(Object, [boxed, None]))
    assert list(several.get_inspectable_array()) == [boxed, None]


def test_tuples_are_structs() -> None:
    assert _create("point", (1, 2)).get_point() == Point(1, 2)
    with pytest.raises(TypeError):
        _create("point", (1, 2, 3))


def test_numbers_convert_with_a_range_check() -> None:
    boxed = _create("int32", 300)
    assert boxed.get_int64() == 300
    assert boxed.get_double() == 300.0
    assert _winerror(boxed.get_uint8) == errors.DISP_E_OVERFLOW
    assert _winerror(_create("int32", -1).get_uint32) == errors.DISP_E_OVERFLOW
    assert _create("double", -2.9).get_int32() == -2
    assert _winerror(_create("double", float("inf")).get_int32) == errors.DISP_E_OVERFLOW
    assert _winerror(_create("double", float("nan")).get_int32) == errors.DISP_E_OVERFLOW
    assert _winerror(_create("double", 1e300).get_single) == errors.DISP_E_OVERFLOW
    assert _winerror(boxed.get_boolean) == errors.TYPE_E_TYPEMISMATCH
    assert _winerror(boxed.get_string) == errors.TYPE_E_TYPEMISMATCH


def test_guid_and_text_convert() -> None:
    guid = UUID(int=7)
    assert _create("guid", guid).get_string() == str(guid)
    assert _create("string", str(guid)).get_guid() == guid
    assert _winerror(_create("string", "no guid").get_guid) == errors.TYPE_E_TYPEMISMATCH


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("uint8", 256, OverflowError), ("uint8", -1, ValueError), ("string", None, TypeError), ("guid", "x", TypeError)],
)
def test_bad_values(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        _create(name, value)


def test_empty_and_static() -> None:
    empty = PropertyValue.create_empty()
    assert isinstance(empty, IPropertyValue)
    assert empty.type is PropertyType.EMPTY
    assert "EMPTY" in repr(empty)
    with pytest.raises(TypeError, match="cannot create"):
        PropertyValue()
    with pytest.raises(TypeError):
        PropertyValue.create_string(value="x")  # type: ignore[call-arg]


def test_interfaces_alone_have_no_value() -> None:
    class Mine(IReference[int]):
        pass

    mine = Mine()
    for read in (lambda: mine.value, lambda: mine.type, mine.get_int32):
        assert _winerror(read) == errors.E_NOTIMPL
