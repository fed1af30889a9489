from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from moorings.errors import OpenEnum
from moorings.foundation.projection import final
from moorings.foundation.winrt_struct import (
    WinRTStruct,
    bool_field,
    enum_field,
    int_field,
    single_field,
    uint_field,
)


class _Color(OpenEnum):
    NONE = 0
    RED = 1


@final
class Sample(WinRTStruct):
    """A struct with one field of each kind."""

    count: int = uint_field(32, "How many.", default=0)
    offset: int = int_field(8, "Where.", default=0)
    ratio: float = single_field("How much.", default=0)
    good: bool = bool_field("Whether.", default=False)
    color: _Color = enum_field(_Color, "Which.", default=_Color.NONE)


@final
class Other(WinRTStruct):
    a: int = uint_field(8, "a", default=0)
    b: int = uint_field(8, "b", default=0)


@final
class Twin(WinRTStruct):
    a: int = uint_field(8, "a", default=0)
    b: int = uint_field(8, "b", default=0)


def test_zero_defaults_positional_and_keywords() -> None:
    assert Sample().unpack() == (0, 0, 0.0, False, _Color.NONE)
    sample = Sample(1, -2, good=5, color=1)  # type: ignore[arg-type]
    assert sample.unpack() == (1, -2, 0.0, True, _Color.RED)
    assert (sample.count, sample.offset, sample.good) == (1, -2, True)
    assert sample.color is _Color.RED
    assert repr(Other(1, 2)) == "Other(a=1, b=2)"
    assert Sample.__match_args__ == ("count", "offset", "ratio", "good", "color")
    assert Sample.count.__doc__ == "How many."


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((1, 2, 3), {}, TypeError),
        ((), {"c": 1}, TypeError),
        ((1,), {"a": 1}, TypeError),
        ((-1,), {}, ValueError),
        ((256,), {}, OverflowError),
        (("1",), {}, TypeError),
    ],
)
def test_bad_arguments(args: Any, kwargs: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Other(*args, **kwargs)


def test_immutable() -> None:
    other = Other(1, 2)
    with pytest.raises(AttributeError, match="immutable"):
        other.a = 5  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        other.new = 5
    with pytest.raises(AttributeError, match="immutable"):
        del other.a
    assert other.a == 1


def test_equality_and_hash_are_those_of_the_tuple() -> None:
    assert Other(1, 2) == (1, 2) == Other(1, 2)
    assert Other(1, 2) != (1, 3)
    assert Other(1, 2) != Twin(1, 2)
    assert Other(1, 2) != [1, 2]
    assert hash(Other(1, 2)) == hash((1, 2))
    assert {Other(1, 2): "x"}[(1, 2)] == "x"  # type: ignore[index]


def test_replace_match_coerce_copy() -> None:
    other = Other(1, 2)
    assert other.__replace__(b=7) == (1, 7)
    with pytest.raises(TypeError):
        other.__replace__(c=7)
    match other:
        case Other(first, second):
            assert (first, second) == (1, 2)
        case _:
            pytest.fail("no match")
    assert Other.coerce(other, "x") is other
    assert Other.coerce((3, 4), "x") == Other(3, 4)
    for bad in ((1,), [1, 2], None, Twin(1, 2)):
        with pytest.raises(TypeError, match="x must be Other"):
            Other.coerce(bad, "x")
    assert copy.copy(other) == other == copy.deepcopy(other) == pickle.loads(pickle.dumps(other))


def test_final() -> None:
    with pytest.raises(TypeError, match="subclassed"):
        type("Sub", (Other,), {})
