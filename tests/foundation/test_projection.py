from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta, timezone
from enum import IntFlag
from typing import Any, Generic, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings import errors
from moorings.errors import OpenEnum, SocketErrorStatus
from moorings.foundation import projection
from moorings.foundation.projection import Object, deprecated_alias, final, not_constructible


class _Index:
    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_integer_limits(bits: int) -> None:
    assert projection.check_uint(0, bits, "x") == 0
    assert projection.check_uint(2**bits - 1, bits, "x") == 2**bits - 1
    assert projection.check_int(-(2 ** (bits - 1)), bits, "x") == -(2 ** (bits - 1))
    assert projection.check_int(2 ** (bits - 1) - 1, bits, "x") == 2 ** (bits - 1) - 1
    with pytest.raises(OverflowError, match="x does not fit"):
        projection.check_uint(2**bits, bits, "x")
    with pytest.raises(ValueError, match="x must not be negative"):
        projection.check_uint(-1, bits, "x")
    for number in (2 ** (bits - 1), -(2 ** (bits - 1)) - 1):
        with pytest.raises(OverflowError, match="x does not fit"):
            projection.check_int(number, bits, "x")


@given(st.integers())
def test_integers_are_in_range_or_refused(number: int) -> None:
    try:
        assert projection.check_uint(number, 32, "x") == number
        assert 0 <= number < 2**32
    except ValueError:
        assert number < 0
    except OverflowError:
        assert number >= 2**32


@pytest.mark.parametrize("check", [projection.check_uint, projection.check_int])
def test_integers_take_index_and_nothing_else(check: Any) -> None:
    assert check(_Index(), 8, "x") == 7
    assert check(True, 8, "x") == 1
    for value in ("1", 1.0, None, b"1"):
        with pytest.raises(TypeError, match="x must be an integer"):
            check(value, 8, "x")


def test_floats() -> None:
    assert projection.check_float(3, "x") == 3.0
    assert projection.check_single(0.1, "x") != 0.1
    assert projection.check_single(0.5, "x") == 0.5
    for value in ("1", b"1", None, [1]):
        with pytest.raises(TypeError, match="x must be a number"):
            projection.check_float(value, "x")
    with pytest.raises(OverflowError):
        projection.check_single(1e300, "x")


def test_text_time_and_guid() -> None:
    assert projection.check_str("a\0b", "x") == "a\0b"
    assert projection.check_timedelta(timedelta(1), "x") == timedelta(1)
    guid = UUID(int=5)
    assert projection.check_guid(guid, "x") is guid
    moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert projection.check_datetime(moment, "x") == moment
    assert projection.check_datetime(moment, "x").tzinfo is UTC
    naive = datetime(2026, 1, 1)
    assert projection.check_datetime(naive, "x") == naive.astimezone()
    for check in (
        projection.check_str,
        projection.check_timedelta,
        projection.check_guid,
        projection.check_datetime,
    ):
        for value in (None, 5):
            with pytest.raises(TypeError, match="x must be"):
                check(value, "x")


def test_enums_take_plain_and_unknown_numbers() -> None:
    class Color(OpenEnum):
        RED = 0

    class Bits(IntFlag):
        ONE = 1

    assert projection.check_enum(0, Color, "x") is Color.RED
    assert projection.check_enum(Color.RED, Color, "x") is Color.RED
    assert projection.check_enum(9, Color, "x") == 9
    assert projection.check_enum(0xFFFF_FFFF, Bits, "x") == 0xFFFF_FFFF
    with pytest.raises(OverflowError):
        projection.check_enum(2**31, SocketErrorStatus, "x")
    with pytest.raises(ValueError, match="negative"):
        projection.check_enum(-1, Bits, "x")
    with pytest.raises(TypeError):
        projection.check_enum("RED", Color, "x")


def test_objects() -> None:
    thing = _Index()
    assert projection.check_object(thing, _Index, "x") is thing
    assert projection.check_optional(None, _Index, "x") is None
    with pytest.raises(TypeError, match="x must be _Index, not int"):
        projection.check_optional(5, _Index, "x")
    with pytest.raises(OSError, match="x must not be None") as caught:
        projection.check_object(None, _Index, "x")
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.E_INVALIDARG
    assert projection.invalid_parameter_count().args == ("invalid parameter count",)
    assert projection.invalid_parameter_count("f()").args == ("invalid parameter count; use f()",)


def test_final_classes_cannot_be_subclassed() -> None:
    @final
    class Leaf(Object):
        pass

    assert isinstance(Leaf(), Object)
    with pytest.raises(TypeError, match="Leaf cannot be subclassed"):
        type("Sub", (Leaf,), {})


def test_not_constructible() -> None:
    @not_constructible
    class Made:
        pass

    with pytest.raises(TypeError, match="cannot create 'Made' instances"):
        Made()
    assert isinstance(object.__new__(Made), Made)


T = TypeVar("T")


class _Base(Object):
    __slots__ = ()
    _winrt_name_ = "Windows.Test.Base"


class _Boxed(Object, Generic[T]):
    pass


def test_object_members() -> None:
    base = _Base()
    assert base.as_(_Base) is base
    assert base.as_(Object) is base
    boxed: _Boxed[int] = _Boxed()
    assert boxed.as_(_Boxed[int]) is boxed
    with pytest.raises(OSError, match="_Base has no interface") as caught:
        base.as_(_Boxed)
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.E_NOINTERFACE
    with pytest.raises(TypeError, match="takes a class"):
        base.as_("Object")
    assert base._runtime_class_name_ == "Windows.Test.Base"
    assert boxed._runtime_class_name_.endswith("test_projection._Boxed")
    assert len(base._iids_) == 0
    assert base == base
    assert base != _Base()
    assert hash(base) != hash(_Base())


def test_arities_are_declared_on_the_function() -> None:
    @projection.arities(1, 3)
    def overloaded(*arguments: object) -> int:
        return len(arguments)

    assert overloaded(1, 2) == 2
    assert overloaded.__arities__ == {1, 3}  # type: ignore[attr-defined]


def test_compiled_classes_can_register() -> None:
    class Compiled:
        pass

    Object.register(Compiled)
    assert isinstance(Compiled(), Object)


class _Renamed:
    def connect_async(self, host: str, level: int = 0, /) -> tuple[object, ...]:
        return self, host, level

    @staticmethod
    def find_async(host: str, /) -> str:
        return host

    connect_with_level_async = deprecated_alias("connect_async")
    find_with_host_async = deprecated_alias("find_async")


def test_deprecated_alias_warns_and_forwards() -> None:
    renamed = _Renamed()
    with pytest.warns(
        DeprecationWarning, match="_Renamed.connect_with_level_async is deprecated, use connect_async"
    ) as w:
        assert renamed.connect_with_level_async("h", 3) == (renamed, "h", 3)
    assert w[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="use find_async"):
        assert _Renamed.find_with_host_async("h") == "h"
    with pytest.warns(DeprecationWarning, match="use connect_async"):
        assert _Renamed.connect_with_level_async(renamed, "h") == (renamed, "h", 0)


def test_deprecated_alias_does_not_warn_when_looked_at_and_takes_no_keywords() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert callable(_Renamed().connect_with_level_async)
        assert _Renamed.connect_with_level_async.__name__ == "connect_with_level_async"
    with pytest.raises(TypeError):
        _Renamed().connect_with_level_async(host="h")
