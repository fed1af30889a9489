from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from moorings import errors
from moorings.foundation import boxing
from moorings.foundation.projection import Object
from moorings.foundation.property_value import IReference, PropertyValue
from moorings.foundation.scalars import UInt8
from moorings.foundation.winrt_array import Array

SAMPLES: dict[str, Any] = {
    "boolean": True,
    "int8": -128,
    "uint8": 255,
    "int16": -1,
    "uint16": 1,
    "int32": -1,
    "uint32": 1,
    "int64": -1,
    "uint64": 1,
    "single": 0.5,
    "double": 0.1,
    "char16": "x",
    "string": "",
    "guid": UUID(int=1),
    "date_time": datetime(2026, 1, 1, tzinfo=UTC),
    "time_span": timedelta(1),
}


def test_table_is_complete() -> None:
    assert sorted(boxing.__all__) == sorted(f"{way}_{name}" for way in ("box", "unbox") for name in SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_round_trip(name: str) -> None:
    boxed = getattr(boxing, f"box_{name}")(SAMPLES[name])
    assert isinstance(boxed, Object)
    assert boxed.as_(IReference[Any]) is boxed
    assert getattr(boxing, f"unbox_{name}")(boxed) == SAMPLES[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_other_boxes_and_plain_values_are_refused(name: str) -> None:
    unbox = getattr(boxing, f"unbox_{name}")
    other = boxing.box_int32(1) if name != "int32" else boxing.box_string("x")
    with pytest.raises(OSError, match=f"no boxed {name}") as caught:
        unbox(other)
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.E_NOINTERFACE
    with pytest.raises(TypeError, match="must be a boxed"):
        unbox(SAMPLES[name])


def test_property_values_can_be_unboxed_but_arrays_not() -> None:
    assert boxing.unbox_uint8(PropertyValue.create_uint8(5)) == 5
    with pytest.raises(OSError, match="no boxed uint8"):
        boxing.unbox_uint8(PropertyValue.create_uint8_array(Array(UInt8, [5])))


def test_arguments_are_checked() -> None:
    with pytest.raises(OverflowError):
        boxing.box_int8(128)
    with pytest.raises(ValueError, match="negative"):
        boxing.box_uint8(-1)
    with pytest.raises(TypeError):
        boxing.box_string(None)  # type: ignore[arg-type]
