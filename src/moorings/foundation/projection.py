"""WinRT manners for Python classes: argument checks, final classes, the `Object` base, names of the 3.x line.

PyWinRT checks arguments before anything starts: a wrong type is a TypeError, a negative number for an unsigned
parameter a ValueError, a number out of range an OverflowError. The `check_*` functions give the same answers, so that
a program fails alike on both systems. They return the value as the exact built-in type.

Source: PyWinRT `docs/types.rst` and winrt-runtime 4.1.
"""

from __future__ import annotations

import operator
import struct
import warnings
from abc import ABCMeta
from datetime import UTC, datetime, timedelta
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_origin, overload
from uuid import UUID

from moorings import errors
from moorings.errors import OpenEnum

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import final

    from moorings.foundation.winrt_array import Array

__all__ = [
    "Object",
    "ObjectStatic",
    "OpenEnum",
    "arities",
    "check_datetime",
    "check_enum",
    "check_float",
    "check_guid",
    "check_int",
    "check_object",
    "check_optional",
    "check_single",
    "check_str",
    "check_timedelta",
    "check_uint",
    "deprecated_alias",
    "final",
    "invalid_parameter_count",
    "not_constructible",
]

_T = TypeVar("_T")
_C = TypeVar("_C", bound=type)
_F = TypeVar("_F", bound="Callable[..., Any]")
_E = TypeVar("_E", bound=IntEnum | IntFlag)

#: Smallest and largest value of each width, so that a check is two comparisons.
_LIMITS: Final = {bits: (-(1 << (bits - 1)), (1 << (bits - 1)) - 1, (1 << bits) - 1) for bits in (8, 16, 32, 64)}


def check_uint(value: object, bits: int, name: str) -> int:
    """Return *value* as an unsigned integer of *bits* (8, 16, 32 or 64) bits.

    Takes any object with `__index__`; TypeError for others, ValueError when negative, OverflowError when too large.
    """
    number = _index(value, name)
    if number < 0:
        raise ValueError(f"{name} must not be negative")
    if number > _LIMITS[bits][2]:
        raise OverflowError(f"{name} does not fit into {bits} bits")
    return number


def check_int(value: object, bits: int, name: str) -> int:
    """Return *value* as a signed integer of *bits* (8, 16, 32 or 64) bits.

    Takes any object with `__index__`; TypeError for others, OverflowError when out of range.
    """
    number = _index(value, name)
    low, high, _ = _LIMITS[bits]
    if not low <= number <= high:
        raise OverflowError(f"{name} does not fit into {bits} bits")
    return number


def _index(value: object, name: str) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None


def check_float(value: object, name: str) -> float:
    """Return *value* as a float; takes what `float()` takes except text, else TypeError."""
    if isinstance(value, str | bytes | bytearray):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    try:
        return float(value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise TypeError(f"{name} must be a number, not {type(value).__name__}") from None


def check_single(value: object, name: str) -> float:
    """Return *value* rounded to a 32-bit float; OverflowError when it is too large for one."""
    number = check_float(value, name)
    try:
        result: float = struct.unpack("=f", struct.pack("=f", number))[0]
    except OverflowError:
        raise OverflowError(f"{name} does not fit into a 32-bit float") from None
    return result


def check_str(value: object, name: str) -> str:
    """Return *value* when it is a str, else TypeError; WinRT has no null string, so None is refused too."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str, not {type(value).__name__}")
    return value


def check_enum(value: Any, enum: type[_E], name: str) -> _E:
    """Return *value* as a member of *enum*; plain integers are taken, unknown ones become nameless members."""
    if isinstance(value, enum):
        return value
    # Flags are UInt32 in WinRT, other enumerations Int32.
    check = check_uint if IntFlag in enum.__mro__ else check_int
    return enum(check(value, 32, name))


def check_datetime(value: object, name: str) -> datetime:
    """Return *value* in UTC; a naive datetime counts as local time. TypeError for other types."""
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be datetime.datetime, not {type(value).__name__}")
    return value.astimezone(UTC)


def check_timedelta(value: object, name: str) -> timedelta:
    """Return *value* when it is a timedelta; TypeError for other types, also for numbers."""
    if not isinstance(value, timedelta):
        raise TypeError(f"{name} must be datetime.timedelta, not {type(value).__name__}")
    return value


def check_guid(value: object, name: str) -> UUID:
    """Return *value* when it is a UUID, else TypeError."""
    if not isinstance(value, UUID):
        raise TypeError(f"{name} must be uuid.UUID, not {type(value).__name__}")
    return value


def check_object(value: object, kind: type[_T], name: str) -> _T:
    """Return *value* when it is an instance of *kind*.

    TypeError for other types. None is a null reference: E_INVALIDARG, as the parameter is required.
    """
    if isinstance(value, kind):
        return value
    if value is None:
        raise errors.invalid_argument(f"{name} must not be None")
    raise TypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}")


def check_optional(value: object, kind: type[_T], name: str) -> _T | None:
    """Return *value* when it is an instance of *kind* or None, else TypeError."""
    return None if value is None else check_object(value, kind, name)


def arities(*counts: int) -> Callable[[_F], _F]:
    """Declare how many arguments a method takes whose signature (`*arguments`) does not tell.

    WinRT overloads are chosen by the number of arguments; the conformance test reads the declaration. The method
    itself raises `invalid_parameter_count()` for other numbers. Below `@staticmethod`, where that is used too.
    """

    def declare(function: _F) -> _F:
        function.__arities__ = frozenset(counts)  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
        return function

    return declare


def invalid_parameter_count(forms: str = "") -> TypeError:
    """Build the TypeError that PyWinRT raises when no overload takes that number of arguments; `forms` are right."""
    return TypeError(f"invalid parameter count; use {forms}" if forms else "invalid parameter count")


if not TYPE_CHECKING:

    def final(cls: _C) -> _C:
        """Class decorator: the class cannot be subclassed, as WinRT runtime classes cannot."""

        def refuse(subclass: type, **_: Any) -> None:
            raise TypeError(f"{cls.__name__} cannot be subclassed (type {subclass.__name__!r})")

        cls.__init_subclass__ = classmethod(refuse)
        cls.__final__ = True
        return cls


def not_constructible(cls: _C) -> _C:
    """Class decorator: calling the class is a TypeError; the library makes instances with `object.__new__(cls)`."""

    def refuse(_cls: type, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError(f"cannot create '{cls.__name__}' instances")

    refuse.__name__ = refuse.__qualname__ = "__new__"
    cls.__new__ = staticmethod(refuse)  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    return cls


class ObjectStatic(ABCMeta):
    """Metaclass of `Object` (`winrt.system.Object_Static`).

    An ABCMeta, so that `Object` and the interfaces mix with `collections.abc`, and compiled classes can `register`.
    """


class Object(metaclass=ObjectStatic):
    """Base of all WinRT objects (`winrt.system.Object`). Equality and hash are identity, as with COM objects."""

    __slots__ = ()

    @overload
    def as_(self, type_: type[_T], /) -> _T: ...
    @overload
    def as_(self, type_: Any, /) -> Any: ...
    def as_(self, type_: Any, /) -> Any:
        """Return this object as a *type_* (query interface).

        Objects of this library already have their full type, so this returns the object itself. OSError with
        E_NOINTERFACE when it is not a *type_*; TypeError when *type_* is not a class.
        """
        kind = get_origin(type_) or type_
        if not isinstance(kind, type):
            raise TypeError("as_() takes a class")
        if not isinstance(self, kind):
            raise errors.make(
                errors.E_NOINTERFACE, f"{type(self).__name__} has no interface {kind.__module__}.{kind.__qualname__}"
            )
        return self

    @property
    def _iids_(self) -> Array[UUID]:
        """Interface ids. There is no COM here, so the array is empty."""
        from moorings.foundation.winrt_array import Array  # noqa: PLC0415 (Array is itself an Object)

        return Array(UUID)

    @property
    def _runtime_class_name_(self) -> str:
        """The WinRT name of the class, such as `Windows.Networking.Sockets.StreamSocket`.

        Taken from the class attribute `_winrt_name_`; `module.Class` where there is none.
        """
        cls = type(self)
        return str(getattr(cls, "_winrt_name_", "")) or f"{cls.__module__}.{cls.__qualname__}"


class _DeprecatedAlias:
    """Descriptor behind `deprecated_alias`; works for methods, class methods and static methods alike."""

    __slots__ = ("_name", "_new_name")

    def __init__(self, new_name: str) -> None:
        self._new_name = new_name
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        target: Callable[..., Any] = getattr(owner if instance is None else instance, self._new_name)
        # `__set_name__` is not called in compiled extension types, hence the fallback text.
        old = f"{owner.__name__}.{self._name or 'this 3.x name'}"
        message = f"{old} is deprecated, use {self._new_name}"

        def forward(*args: Any) -> Any:
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return target(*args)

        forward.__name__ = self._name or self._new_name
        forward.__doc__ = f"Deprecated PyWinRT 3.x name of :meth:`{self._new_name}`."
        forward.__wrapped__ = target  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
        forward.__deprecated__ = message  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
        return forward


def deprecated_alias(new_name: str) -> Any:
    """Make a PyWinRT 3.x name for the method *new_name* of the same class.

    In the class body: `connect_with_protection_level_async = deprecated_alias("connect_async")`. A call emits a
    DeprecationWarning that names the new name, and forwards its positional arguments.
    """
    return _DeprecatedAlias(new_name)
