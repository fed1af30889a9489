"""Immutable WinRT structs.

A subclass of `WinRTStruct` lists its fields as class attributes:

    @final
    class Pair(WinRTStruct):
        first: int = uint_field(32, "What it means, in which unit.", default=0)
        second: bool = bool_field("...", default=False)

The defaults are always zero; they stand there because type checkers learn from them that the argument may be left out.

It gets, as in PyWinRT 4: a positional or keyword constructor in which every field defaults to zero, read-only fields,
`==` and `hash()` with structs of the same type and with tuples of the fields, `unpack()`, `__replace__` (for
`copy.replace` of Python 3.13), `__match_args__`, and `coerce`, which lets a parameter take a plain tuple.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast, dataclass_transform

from moorings.foundation.projection import check_enum, check_int, check_single, check_uint

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings.errors import OpenEnum

__all__ = ["WinRTStruct", "bool_field", "enum_field", "int_field", "single_field", "uint_field"]

T = TypeVar("T")
E = TypeVar("E", bound="OpenEnum")


class _Field(Generic[T]):
    """One field: a read-only property that reads its place in the tuple of values."""

    def __init__(self, default: T, check: Callable[[object, str], T], doc: str) -> None:
        self.default = default
        self.check = check
        self.__doc__ = doc
        self._index = -1

    def place(self, index: int) -> None:
        self._index = index

    def __get__(self, instance: WinRTStruct | None, owner: type) -> Any:
        return self if instance is None else instance.unpack()[self._index]

    def __set__(self, instance: WinRTStruct, value: object) -> None:
        raise AttributeError(f"{type(instance).__name__} is immutable")


# The functions below return Any, so that `name: int = uint_field(...)` reads like a dataclass field.
def uint_field(bits: int, doc: str, *, default: int) -> Any:
    """Field for an unsigned integer of *bits* bits."""
    return _Field(default, lambda value, name: check_uint(value, bits, name), doc)


def int_field(bits: int, doc: str, *, default: int) -> Any:
    """Field for a signed integer of *bits* bits."""
    return _Field(default, lambda value, name: check_int(value, bits, name), doc)


def single_field(doc: str, *, default: float) -> Any:
    """Field for a 32-bit float."""
    return _Field(default, check_single, doc)


def bool_field(doc: str, *, default: bool) -> Any:
    """Field for a Boolean; takes any object by its truth value."""
    return _Field(default, lambda value, _: bool(value), doc)


def enum_field(enum: type[E], doc: str, *, default: E) -> Any:
    """Field for a member of *enum*; plain integers are taken too."""
    return _Field(default, lambda value, name: check_enum(value, enum, name), doc)


@dataclass_transform(
    frozen_default=True, field_specifiers=(uint_field, int_field, single_field, bool_field, enum_field)
)
class WinRTStruct:
    """Base of all structs; see the module's text."""

    __slots__ = ("_values",)
    __match_args__: ClassVar[tuple[str, ...]] = ()
    _fields: ClassVar[dict[str, _Field[Any]]] = {}
    _values: tuple[Any, ...]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._fields = {name: field for name, field in vars(cls).items() if isinstance(field, _Field)}
        for index, field in enumerate(cls._fields.values()):
            field.place(index)
        cls.__match_args__ = tuple(cls._fields)  # type: ignore[misc]

    if not TYPE_CHECKING:

        def __init__(self, *args: object, **kwargs: object) -> None:
            fields = self._fields
            if len(args) > len(fields):
                raise TypeError(f"{type(self).__name__} takes at most {len(fields)} values ({len(args)} given)")
            given = dict(zip(fields, args, strict=False))
            for name, value in kwargs.items():
                if name not in fields:
                    raise TypeError(f"{type(self).__name__} has no field {name!r}")
                if name in given:
                    raise TypeError(f"{type(self).__name__} got field {name!r} twice")
                given[name] = value
            values = tuple(
                field.check(given[name], name) if name in given else field.default for name, field in fields.items()
            )
            object.__setattr__(self, "_values", values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def unpack(self) -> tuple[Any, ...]:
        """Return the fields as a tuple, in their order."""
        return self._values

    @classmethod
    def coerce(cls, value: object, name: str) -> Self:
        """Return *value* when it is of this type, or a struct made of a tuple with one item for each field.

        TypeError for anything else. *name* is the parameter's name.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, tuple):
            items: tuple[Any, ...] = cast("Any", value)
            if len(items) == len(cls._fields):
                return cls(*items)
        raise TypeError(f"{name} must be {cls.__name__} or a tuple of {len(cls._fields)} values")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, tuple):
            return self._values == other
        if type(other) is type(self):
            return self._values == other._values
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self._values, strict=True))
        return f"{type(self).__name__}({fields})"

    def __replace__(self, **changes: Any) -> Self:
        return type(self)(**{**dict(zip(self._fields, self._values, strict=True)), **changes})

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return (type(self), self._values)
