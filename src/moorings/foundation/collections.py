"""The interfaces of `Windows.Foundation.Collections`.

Each interface is at once the WinRT one and the `collections.abc` one: an `IVector` is a MutableSequence with
`get_at`, `index_of` and their like on top. The WinRT members are written on the Python ones, so that a class which
derives from an interface needs the abstract methods of `collections.abc` only (and `map_changed` where there is one).
Two rules differ on purpose, as in PyWinRT: `vector[9]` raises IndexError and `mapping["x"]` KeyError, while `get_at(9)`
and `lookup("x")` raise OSError with E_BOUNDS; and equality and hash are identity, as for all WinRT objects.

`vectors` and `maps` hold the classes that the library itself returns.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar

from moorings import errors
from moorings.foundation.projection import Object, OpenEnum, check_uint
from moorings.foundation.winrt_array import array_items, fill_items, item_count

if TYPE_CHECKING:
    from moorings.foundation.events import EventRegistrationToken
    from moorings.foundation.scalars import ReadableBuffer, WriteableBuffer
    from moorings.foundation.winrt_array import Array

__all__ = [
    "CollectionChange",
    "IIterable",
    "IIterator",
    "IKeyValuePair",
    "IMap",
    "IMapChangedEventArgs",
    "IMapView",
    "IObservableMap",
    "IObservableVector",
    "IPropertySet",
    "IVector",
    "IVectorChangedEventArgs",
    "IVectorView",
    "MapChangedEventHandler",
    "VectorChangedEventHandler",
    "check_index",
    "slice_range",
]

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class CollectionChange(OpenEnum):
    """What happened to an observable collection."""

    RESET = 0
    ITEM_INSERTED = 1
    ITEM_REMOVED = 2
    ITEM_CHANGED = 3


def check_index(index: object, size: int, what: str) -> int:
    """Return *index* when it is below *size*, else E_BOUNDS; TypeError or ValueError when it is no UInt32."""
    number = check_uint(index, 32, "index")
    if number >= size:
        raise errors.make(errors.E_BOUNDS, f"{what}: index {number} is not below the size {size}")
    return number


def slice_range(index: slice, size: int) -> range:
    """Return the positions of a slice with step 1; NotImplementedError for other steps, as in PyWinRT."""
    start, stop, step = index.indices(size)
    if step != 1:
        raise NotImplementedError("slices of WinRT collections have step 1")
    return range(start, stop)


class IIterator(Object, Iterator[T]):
    """A position in a collection that has an element, or is behind the last one. A Python iterator as well."""

    __slots__ = ()

    @property
    @abstractmethod
    def current(self) -> T:
        """The element here. E_BOUNDS behind the last one, E_CHANGED_STATE when the collection has changed."""

    @property
    @abstractmethod
    def has_current(self) -> bool:
        """Whether there is an element here."""

    @abstractmethod
    def move_next(self) -> bool:
        """Go to the next element and return whether there is one. E_BOUNDS behind the last one."""

    def get_many(self, items: Array[T] | WriteableBuffer, /) -> int:
        """Fill *items* with the elements from here on, go behind them, and return their number."""
        room = item_count(items, "items")
        values: list[T] = []
        while len(values) < room and self.has_current:
            values.append(self.current)
            self.move_next()
        return fill_items(items, values, "items")

    def __next__(self) -> T:
        if not self.has_current:
            raise StopIteration
        value = self.current
        self.move_next()
        return value


class IIterable(Object, Iterable[T]):
    """Something that can be iterated, in the WinRT way with `first()` and in the Python way."""

    __slots__ = ()

    @abstractmethod
    def first(self) -> IIterator[T]:
        """Return an iterator at the first element."""

    def __iter__(self) -> Iterator[T]:
        return self.first()


class IKeyValuePair(Object, Generic[K, V]):
    """One entry of a map."""

    __slots__ = ()

    @property
    @abstractmethod
    def key(self) -> K:
        """The key."""

    @property
    @abstractmethod
    def value(self) -> V:
        """The value."""


class _SequenceMembers(IIterable[T], Sequence[T]):
    """What `IVectorView` and `IVector` share; an IVector is no IVectorView."""

    __slots__ = ()
    __hash__ = object.__hash__

    def first(self) -> IIterator[T]:
        """Return an iterator at the first element."""
        from moorings.foundation.vectors import SequenceIterator  # noqa: PLC0415 (its base class is here)

        return SequenceIterator(self)

    @property
    def size(self) -> int:
        """The number of elements."""
        return len(self)

    def get_at(self, index: int, /) -> T:
        """Return the element at *index*. E_BOUNDS when there is none."""
        return self[check_index(index, len(self), "get_at")]

    def index_of(self, value: T, /) -> tuple[bool, int]:
        """Return whether an element equals *value*, and the index of the first such element, else 0."""
        for index, item in enumerate(self):
            if item is value or item == value:
                return True, index
        return False, 0

    def get_many(self, start_index: int, items: Array[T] | WriteableBuffer, /) -> int:
        """Fill *items* with the elements from *start_index* on and return their number. E_BOUNDS beyond the size."""
        start = check_index(start_index, len(self) + 1, "get_many")
        room = item_count(items, "items")
        stop = min(len(self), start + room)
        return fill_items(items, [self[position] for position in range(start, stop)], "items")


class IVectorView(_SequenceMembers[T]):
    """A sequence that its holder cannot change."""

    __slots__ = ()


class IVector(_SequenceMembers[T], MutableSequence[T]):
    """A sequence that can be changed."""

    __slots__ = ()

    @abstractmethod
    def insert(self, index: SupportsIndex, value: T, /) -> None:
        """Insert *value* before *index*, which counts from the end when negative and is clipped, as for a list."""

    def append(self, value: T, /) -> None:
        """Add *value* at the end."""
        self.insert(len(self), value)

    def clear(self) -> None:
        """Remove all elements."""
        while len(self):
            del self[-1]

    def get_view(self) -> Sequence[T]:
        """Return a view that cannot be changed and shows later changes of this vector."""
        from moorings.foundation.vectors import VectorView  # noqa: PLC0415 (its base class is here)

        return VectorView(self)

    def set_at(self, index: int, value: T, /) -> None:
        """Replace the element at *index*. E_BOUNDS when there is none."""
        self[check_index(index, len(self), "set_at")] = value

    def insert_at(self, index: int, value: T, /) -> None:
        """Insert *value* before *index*, which may be the size. E_BOUNDS beyond it."""
        self.insert(check_index(index, len(self) + 1, "insert_at"), value)

    def remove_at(self, index: int, /) -> None:
        """Remove the element at *index*. E_BOUNDS when there is none."""
        del self[check_index(index, len(self), "remove_at")]

    def remove_at_end(self) -> None:
        """Remove the last element. E_BOUNDS when there is none."""
        self.remove_at(max(len(self) - 1, 0))

    def replace_all(self, items: Array[T] | ReadableBuffer, /) -> None:
        """Replace all elements by those of *items*: an Array or a bytes-like object, as in PyWinRT not a list."""
        values = array_items(items, "items")
        self.clear()
        self.extend(values)


class _MappingMembers(IIterable[Any], Mapping[K, V]):
    """What `IMapView` and `IMap` share; an IMap is no IMapView.

    The Any stands for IKeyValuePair[K, V]: type checkers cannot be told that `first()` and `__iter__` differ.
    """

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    @abstractmethod
    def __iter__(self) -> Iterator[K]:
        raise NotImplementedError

    def first(self) -> IIterator[IKeyValuePair[K, V]]:
        """Return an iterator at the first entry."""
        from moorings.foundation.maps import KeyValuePair  # noqa: PLC0415 (its base class is here)
        from moorings.foundation.vectors import SequenceIterator  # noqa: PLC0415

        return SequenceIterator([KeyValuePair(key, self[key]) for key in self])

    @property
    def size(self) -> int:
        """The number of entries."""
        return len(self)

    def has_key(self, key: K, /) -> bool:
        """Return whether there is an entry for *key*."""
        return key in self

    def lookup(self, key: K, /) -> V:
        """Return the value for *key*. E_BOUNDS when there is none."""
        if key not in self:
            raise errors.make(errors.E_BOUNDS, f"the map has no key {key!r}")
        return self[key]


class IMapView(_MappingMembers[K, V]):
    """A mapping that its holder cannot change. Python iterates its keys, `first()` its entries."""

    __slots__ = ()

    def split(self) -> tuple[Mapping[K, V] | None, Mapping[K, V] | None]:
        """Return two views with about half of the entries each; (None, None) for a map too small to be split."""
        from moorings.foundation.maps import MapView  # noqa: PLC0415 (its base class is here)

        if len(self) < 2:
            return None, None
        entries = [(key, self[key]) for key in self]
        middle = len(entries) // 2
        return MapView(dict(entries[:middle])), MapView(dict(entries[middle:]))


class IMap(_MappingMembers[K, V], MutableMapping[K, V]):
    """A mapping that can be changed. Python iterates its keys, `first()` its entries."""

    __slots__ = ()

    def get_view(self) -> Mapping[K, V]:
        """Return a view that cannot be changed and shows later changes of this map."""
        from moorings.foundation.maps import MapView  # noqa: PLC0415 (its base class is here)

        return MapView(self)

    def insert(self, key: K, value: V, /) -> bool:
        """Set the value for *key*; return whether an earlier value was replaced."""
        replaced = key in self
        self[key] = value
        return replaced

    def remove(self, key: K, /) -> None:
        """Remove the entry for *key*. E_BOUNDS when there is none."""
        if key not in self:
            raise errors.make(errors.E_BOUNDS, f"the map has no key {key!r}")
        del self[key]

    def clear(self) -> None:
        """Remove all entries."""
        for key in list(self):
            del self[key]


class IMapChangedEventArgs(Object, Generic[K]):
    """Tells a handler of `map_changed` what happened."""

    __slots__ = ()

    @property
    @abstractmethod
    def collection_change(self) -> CollectionChange:
        """The kind of change."""

    @property
    @abstractmethod
    def key(self) -> K:
        """The key of the entry that changed; the empty key for RESET."""


class IVectorChangedEventArgs(Object):
    """Tells a handler of `vector_changed` what happened."""

    __slots__ = ()

    @property
    @abstractmethod
    def collection_change(self) -> CollectionChange:
        """The kind of change."""

    @property
    @abstractmethod
    def index(self) -> int:
        """The index of the element that changed; 0 for RESET."""


class IObservableMap(IMap[K, V]):
    """A map that raises an event after each change."""

    __slots__ = ()

    @abstractmethod
    def add_map_changed(self, handler: MapChangedEventHandler[K, V], /) -> EventRegistrationToken:
        """Call *handler* (map, IMapChangedEventArgs) after each change, inline."""

    @abstractmethod
    def remove_map_changed(self, token: EventRegistrationToken, /) -> None:
        """Remove the handler that *token* stands for."""


class IObservableVector(IVector[T]):
    """A vector that raises an event after each change."""

    __slots__ = ()

    @abstractmethod
    def add_vector_changed(self, handler: VectorChangedEventHandler[T], /) -> EventRegistrationToken:
        """Call *handler* (vector, IVectorChangedEventArgs) after each change, inline."""

    @abstractmethod
    def remove_vector_changed(self, token: EventRegistrationToken, /) -> None:
        """Remove the handler that *token* stands for."""


class IPropertySet(IObservableMap[str, Object | None]):
    """A map from names to boxed values."""

    __slots__ = ()


MapChangedEventHandler = Callable[[IObservableMap[K, V], IMapChangedEventArgs[K]], object]
VectorChangedEventHandler = Callable[[IObservableVector[T], IVectorChangedEventArgs], object]
