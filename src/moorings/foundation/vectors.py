"""`Vector` and `VectorView`: the sequences that members of this library return, and their iterator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

from moorings import errors
from moorings.foundation.collections import IIterator, IVector, IVectorView, slice_range
from moorings.foundation.winrt_array import Array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["SequenceIterator", "Vector", "VectorView"]

T = TypeVar("T")


class SequenceIterator(IIterator[T]):
    """An iterator over a sequence.

    With *version*, a function whose result changes with the sequence, use after a change is E_CHANGED_STATE.
    """

    __slots__ = ("_items", "_position", "_seen", "_version")

    def __init__(self, items: Sequence[T], version: Callable[[], int] | None = None) -> None:
        self._items = items
        self._position = 0
        self._version = version
        self._seen = version() if version else 0

    def _check(self) -> None:
        if self._version is not None and self._version() != self._seen:
            raise errors.make(errors.E_CHANGED_STATE, "the collection was changed during the iteration")

    @property
    def current(self) -> T:
        """The element here. E_BOUNDS behind the last one, E_CHANGED_STATE when the collection has changed."""
        self._check()
        if not self.has_current:
            raise errors.make(errors.E_BOUNDS, "the iterator is behind the last element")
        return self._items[self._position]

    @property
    def has_current(self) -> bool:
        """Whether there is an element here."""
        return self._position < len(self._items)

    def move_next(self) -> bool:
        """Go to the next element and return whether there is one. E_BOUNDS behind the last one."""
        self._check()
        if not self.has_current:
            raise errors.make(errors.E_BOUNDS, "the iterator is behind the last element")
        self._position += 1
        return self.has_current


class VectorView(IVectorView[T]):
    """A read-only view of a sequence; it shows later changes of that sequence."""

    __slots__ = ("__weakref__", "_items")

    def __init__(self, items: Sequence[T]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Array[T]: ...
    def __getitem__(self, index: int | slice) -> T | Array[T]:
        if isinstance(index, slice):
            return Array(object, [self._items[position] for position in slice_range(index, len(self._items))])
        return self._items[index]

    def __repr__(self) -> str:
        return f"VectorView({list(self._items)!r})"


class Vector(IVector[T]):
    """A list with the WinRT names. *check* is applied to each element that comes in and returns what is kept.

    A `check` raises TypeError for elements of a wrong type, so that a mistake shows where it is made.
    """

    __slots__ = ("__weakref__", "_check", "_items", "_version")

    def __init__(self, items: Iterable[T] = (), check: Callable[[Any], T] | None = None) -> None:
        self._check = check
        self._items: list[T] = [self._accept(item) for item in items]
        self._version = 0

    def _accept(self, value: T) -> T:
        return value if self._check is None else self._check(value)

    def first(self) -> IIterator[T]:
        """Return an iterator at the first element; a change of the vector makes it E_CHANGED_STATE."""
        return SequenceIterator(self._items, lambda: self._version)

    def __len__(self) -> int:
        return len(self._items)

    @overload  # type: ignore[override]
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Array[T]: ...
    def __getitem__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, index: SupportsIndex | slice
    ) -> T | Array[T]:
        if isinstance(index, slice):
            return Array(object, [self._items[position] for position in slice_range(index, len(self._items))])
        return self._items[index]

    @overload
    def __setitem__(self, index: SupportsIndex, value: T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[T]) -> None: ...
    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        if isinstance(index, slice):
            positions = slice_range(index, len(self._items))
            self._items[positions.start : positions.stop] = [self._accept(item) for item in value]
        else:
            self._items[index] = self._accept(value)
        self._version += 1

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        if isinstance(index, slice):
            positions = slice_range(index, len(self._items))
            index = slice(positions.start, positions.stop)
        del self._items[index]
        self._version += 1

    def insert(self, index: SupportsIndex, value: T, /) -> None:
        """Insert *value* before *index*, which counts from the end when negative and is clipped, as for a list."""
        self._items.insert(index, self._accept(value))
        self._version += 1

    def clear(self) -> None:
        """Remove all elements."""
        self._items.clear()
        self._version += 1

    def __repr__(self) -> str:
        return f"Vector({self._items!r})"
