from __future__ import annotations

import array
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from moorings.foundation.geometry import Point
from moorings.foundation.projection import Object
from moorings.foundation.scalars import Char16, Double, Int8, Int32, Single, UInt8, UInt16, UInt64
from moorings.foundation.winrt_array import (
    Array,
    array_items,
    check_char16,
    fill_items,
    item_count,
    read_items,
    readable_view,
    writable_view,
)


def test_empty_sized_and_initialised() -> None:
    assert list(Array(UInt16)) == []
    assert len(Array(UInt64)) == 0
    assert list(Array(UInt16, 3)) == [0, 0, 0]
    assert list(Array(UInt8, b"ab")) == [97, 98]
    assert list(Array(Double, (x / 2 for x in range(3)))) == [0.0, 0.5, 1.0]
    assert list(Array(bool, [1, 0, "x"])) == [True, False, True]
    assert list(Array(Char16, "añ")) == ["a", "ñ"]
    assert list(Array(str, 2)) == ["", ""]
    assert list(Array(Point, 1)) == [(0, 0)]
    assert list(Array(timedelta, 1)) == [timedelta()]
    assert list(Array(datetime, 1)) == [None]
    assert list(Array(UUID, [UUID(int=1)])) == [UUID(int=1)]
    assert list(Array[int](Int32, [1])) == [1]


@pytest.mark.parametrize(
    ("kind", "values", "error"),
    [
        (UInt8, [256], OverflowError),
        (UInt8, [-1], ValueError),
        (Int8, [-129], OverflowError),
        (UInt8, ["1"], TypeError),
        (Char16, ["ab"], ValueError),
        (Char16, ["\U0001f600"], OverflowError),
        (Single, [1e300], OverflowError),
        (str, [1], TypeError),
        (UUID, ["x"], TypeError),
        (datetime, ["x"], TypeError),
        (Point, [(1,)], TypeError),
        (Object, ["plain text"], TypeError),
    ],
)
def test_elements_are_checked(kind: Any, values: list[Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Array(kind, values)


def test_sequence_behaviour() -> None:
    numbers = Array[int](UInt16, [5, 6, 7])
    assert (numbers[0], numbers[-1]) == (5, 7)
    assert list(numbers[1:]) == [6, 7]
    assert isinstance(numbers[1:], Array)
    assert 6 in numbers
    assert numbers.index(7) == 2
    assert list(reversed(numbers)) == [7, 6, 5]
    for index in (3, -4):
        with pytest.raises(IndexError):
            numbers[index]
    with pytest.raises(NotImplementedError):
        numbers[::2]
    assert repr(numbers) == "Array(UInt16, [5, 6, 7])"
    assert repr(Array(str, ["a"])) == "Array(str, ['a'])"
    assert numbers != Array(UInt16, [5, 6, 7])


def test_size_is_an_unsigned_32_bit_number() -> None:
    with pytest.raises(ValueError, match="negative"):
        Array(UInt8, -1)
    with pytest.raises(OverflowError):
        Array(UInt8, 2**32)


def test_memory_is_shared_with_its_views() -> None:
    numbers = Array[int](UInt16, [1, 2])
    view = numbers.view()
    assert (view.format, view.nbytes, view.readonly) == ("H", 4, False)
    view[0] = 9
    assert numbers[0] == 9
    assert bytes(numbers) == (9).to_bytes(2, sys.byteorder) + (2).to_bytes(2, sys.byteorder)
    assert numbers.__buffer__(0).tolist() == [9, 2]
    with pytest.raises(TypeError, match="no packed memory"):
        Array(str, 1).view()


def test_buffer_protocol_from_python_3_12_on() -> None:
    numbers: Any = Array(UInt16, [1, 2])
    if sys.version_info >= (3, 12):
        assert memoryview(numbers).tolist() == [1, 2]
    else:
        with pytest.raises(TypeError):
            memoryview(numbers)


def test_check_char16() -> None:
    assert check_char16("x", "c") == "x"
    with pytest.raises(TypeError):
        check_char16(120, "c")


def test_views_of_parameters() -> None:
    target = bytearray(b"abc")
    assert readable_view(b"abc", "x").tobytes() == b"abc"
    assert writable_view(target, "x").obj is target
    assert writable_view(Array(UInt8, 2), "x").nbytes == 2
    with pytest.raises(TypeError, match="x must be writable, bytes is not"):
        writable_view(b"abc", "x")
    for bad in ([1], "abc", 5, None):
        with pytest.raises(TypeError, match="x must be an Array or a bytes-like object"):
            readable_view(bad, "x")  # type: ignore[arg-type]


def test_read_items() -> None:
    assert read_items(b"\1\2", UInt8, "x") == [1, 2]
    assert read_items(array.array("H", [1, 2]), UInt16, "x") == [1, 2]
    assert read_items(Array(str, ["a"]), str, "x") == ["a"]
    assert read_items(Array(UInt8, [1]), UInt16, "x") == [1]
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert read_items(Array(datetime, [moment]), datetime, "x") == [moment]
    with pytest.raises(TypeError, match="do not fit"):
        read_items(b"ab", UInt16, "x")
    with pytest.raises(TypeError):
        read_items([1], UInt8, "x")  # type: ignore[arg-type]


def test_fill_items_fills_as_many_as_fit() -> None:
    target = Array[str](str, 2)
    assert fill_items(target, ["a", "b", "c"], "x") == 2
    assert list(target) == ["a", "b"]
    data = bytearray(4)
    assert fill_items(data, [1, 2], "x") == 2
    assert data == b"\1\2\0\0"
    with pytest.raises(TypeError):
        fill_items(b"ab", [1], "x")
    with pytest.raises(TypeError):
        fill_items([0], [1], "x")  # type: ignore[arg-type]


def test_counting_and_listing_parameters() -> None:
    assert item_count(Array(UInt8, 3), "x") == item_count(b"abc", "x") == 3
    assert array_items(Array(str, ["a"]), "x") == ["a"]
    assert array_items(b"\1", "x") == [1]
    with pytest.raises(TypeError):
        array_items([1], "x")  # type: ignore[arg-type]
